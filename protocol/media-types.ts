/** A client that accepts this media type gets the rejected rows of its push, with the reasons. */
export const PUSH_RESULT = 'application/vnd.tasktide.push+json'
/**
 * A client that accepts this media type gets `has_more` with each page of a pull, and pages that may be shorter
 * than the limit although more changes follow.
 */
export const PULL_RESULT = 'application/vnd.tasktide.pull+json'
