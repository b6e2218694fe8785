import { defaultConflictHandler, type RxConflictHandler } from 'rxdb'

/**
 * What the server answers takes the place of what is here: it has merged the two. But a read that was
 * under way while this device wrote may bring an older state of a document. RxDB asks whether it is
 * equal to what is here before it writes it; it is told so, and passes it over.
 */
export const conflictHandler: RxConflictHandler<{ updated_at: string }> = {
  isEqual(a, b, context) {
    const isOlder = context === 'downstream-check-if-equal-1' && a.updated_at < b.updated_at
    return isOlder || defaultConflictHandler.isEqual(a, b, context)
  },
  resolve: defaultConflictHandler.resolve,
}
