import type { Profile, User } from '../../client-sdk/index.ts'
import { useClient } from './client-context.ts'
import { useObserved } from './observed.ts'

export interface EditableProfile {
  profile: Profile
  /** Kept on the device at once, as every edit. */
  change: (changed: Partial<Profile>) => void
}

/** Null until the first sync has brought it. */
export function useProfile({ id }: User): EditableProfile | null {
  const client = useClient()
  const document = useObserved(() => client.profile.findOne(id).$, null, [client, id])
  if (!document) return null
  return {
    profile: document,
    change: (changed) => void document.incrementalPatch(changed),
  }
}
