import type { DocumentOf, NewDocumentOf, resources } from '../../protocol/index.ts'

export type { Category, Conflict, Profile, Task } from '../../protocol/index.ts'

type Definitions = typeof resources

/** The documents by the name of their resource. The build writes these types out. */
export type Documents = { [N in keyof Definitions]: DocumentOf<Definitions[N]> }

/** What a new document needs; the rest is filled in. */
export type NewDocuments = { [N in keyof Definitions]: NewDocumentOf<Definitions[N]> }

export type ResourceName = keyof Documents
