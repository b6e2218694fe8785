import type { RxCollection, RxDocument } from 'rxdb'
import type { Documents, NewDocuments, ResourceName } from './documents.ts'

/** The RxDB collection of one resource, with additional methods. */
export type Collection<N extends ResourceName, Methods = unknown> = RxCollection<
  Documents[N],
  object,
  Inserting<N> & Methods
>

interface Inserting<N extends ResourceName> {
  /** Creates a document. Missing fields get initial values. */
  insert(document: NewDocuments[N]): Promise<RxDocument<Documents[N]>>
}
