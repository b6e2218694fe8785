import type { Profile, User } from '@tasktide/client'
import { useProfile } from '../documents/documents.ts'
import { type Kept, useEdits } from '../documents/edits.tsx'

export interface EditableProfile {
  profile: Readonly<Profile>
  /** Kept on the device at once, as every edit. */
  change: (changed: Partial<Profile>) => Kept
}

/** Null until the first sync. */
export function useEditableProfile({ id }: User): EditableProfile | null {
  const edits = useEdits()
  const profile = useProfile()
  return profile && { profile, change: (changed) => edits.changeProfile(id, changed) }
}
