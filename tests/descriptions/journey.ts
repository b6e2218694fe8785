export interface Newcomer {
  username: string
  email: string
  password: string
}

/** Registers, signs in, writes and reads a task, and reads a problem; with the types of a generated client. */
export type Journey = (url: string, person: Newcomer) => Promise<Record<string, unknown>>
