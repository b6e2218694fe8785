/** What a client accepts that wants to be told which rows of its push were rejected, and why. */
export const PUSH_RESULT = 'application/vnd.tasktide.push+json'
