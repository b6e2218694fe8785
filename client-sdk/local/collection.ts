import type { RxCollection, RxDocument } from 'rxdb'
import type { Documents, NewDocuments, ResourceName } from './documents.ts'

/** The RxDB collection of one resource, with additional methods. */
export type Collection<N extends ResourceName, Methods = unknown> = RxCollection<
  Documents[N],
  object,
  CommonMethods<N> & Methods
>

interface CommonMethods<N extends ResourceName> {
  /** Creates a document. Missing fields get initial values. */
  add(document: NewDocuments[N]): Promise<RxDocument<Documents[N]>>
  /** The same, by RxDB's name. */
  insert(document: NewDocuments[N]): Promise<RxDocument<Documents[N]>>
  bulkInsert(documents: NewDocuments[N][]): ReturnType<RxCollection<Documents[N]>['bulkInsert']>
  /**
   * Deletes a document for good, also one that is deleted already: its content is erased here at once, and on
   * the server and every other device when they are in sync. It cannot be restored.
   *
   * @throws ClientError `not_found`; `read_only` for a resource of which nothing can be deleted
   */
  deleteForGood(id: string): Promise<void>
}
