import type { ComponentChildren } from 'preact'
import { useEffect, useId } from 'preact/hooks'
import type { User } from '../../client-sdk/index.ts'
import { AccountAddress } from './account-address.tsx'
import { AccountDeletion } from './account-deletion.tsx'
import type { KnownAccount } from './account-details.ts'
import { AccountDevices } from './account-devices.tsx'
import { AccountExport } from './account-export.tsx'
import { AccountPassword } from './account-password.tsx'
import { AccountProfile } from './account-profile.tsx'
import { AccountReminders } from './account-reminders.tsx'
import { useEditableProfile } from './profile.ts'

interface AccountPageProps {
  user: User
  account: KnownAccount
}

/** Everything about the person rather than the tasks. What needs no network comes first. */
export function AccountPage({ user, account }: AccountPageProps) {
  const profile = useEditableProfile(user)
  useEffect(() => {
    scrollTo(0, 0)
    void account.ask()
  }, [])
  return (
    <div class="account-page">
      <header class="view-header">
        <h1>Account</h1>
      </header>
      {profile && <AccountProfile profile={profile} />}
      {profile && <AccountReminders profile={profile} />}
      <AccountAddress account={account} />
      <AccountPassword user={user} />
      <AccountDevices />
      <AccountExport />
      <AccountDeletion user={user} />
    </div>
  )
}

interface SectionProps {
  title: string
  hint?: string
  children: ComponentChildren
}

export function Section({ title, hint, children }: SectionProps) {
  const id = useId()
  return (
    <section class="card" aria-labelledby={id}>
      <h2 id={id}>{title}</h2>
      {hint && <p class="hint">{hint}</p>}
      {children}
    </section>
  )
}
