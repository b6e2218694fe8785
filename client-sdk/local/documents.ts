import type { DocumentOf, NewDocumentOf, resources } from '../../protocol/index.ts'

export type { Category, Conflict, Profile, Task } from '../../protocol/index.ts'

type Definitions = typeof resources

/** The document types by resource. The build generates their declarations. */
export type Documents = { [N in keyof Definitions]: DocumentOf<Definitions[N]> }

/** The types of new documents; missing fields get initial values. */
export type NewDocuments = { [N in keyof Definitions]: NewDocumentOf<Definitions[N]> }

export type ResourceName = keyof Documents
