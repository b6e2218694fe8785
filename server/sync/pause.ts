/** Awaited between the pieces of long work, so that others have their turn. */
export type Pause = () => Promise<void> | undefined

export const NO_PAUSE: Pause = () => undefined
