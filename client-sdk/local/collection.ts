import type { RxCollection, RxDocument } from 'rxdb'
import type { Documents, NewDocuments, ResourceName } from './documents.ts'

/** The documents of one resource on this device, and what else its collection can do. */
export type Collection<N extends ResourceName, Methods = unknown> = RxCollection<
  Documents[N],
  object,
  Inserting<N> & Methods
>

interface Inserting<N extends ResourceName> {
  /** Creates a document. What is left out is filled in. */
  insert(document: NewDocuments[N]): Promise<RxDocument<Documents[N]>>
}
