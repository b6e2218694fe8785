/** A client that accepts this media type gets the rejected rows of its push, with the reasons. */
export const PUSH_RESULT = 'application/vnd.tasktide.push+json'
