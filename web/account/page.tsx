import type { User } from '@tasktide/client'
import type { ComponentChildren } from 'preact'
import { useEffect, useId } from 'preact/hooks'
import { AccountActivity } from './activity.tsx'
import { AccountAddress } from './address.tsx'
import { AccountDeletion } from './deletion.tsx'
import type { KnownAccount } from './details.ts'
import { AccountDevices } from './devices.tsx'
import { AccountExport } from './export.tsx'
import { AccountFactors } from './factors.tsx'
import { AccountPassword } from './password.tsx'
import { useEditableProfile } from './profile.ts'
import { AccountProfile } from './profile-form.tsx'
import { AccountReminders } from './reminders.tsx'
import { AccountStorage } from './storage.tsx'

interface AccountPageProps {
  user: User
  account: KnownAccount
}

/** The account settings. Those that work offline come first. */
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
      <AccountFactors />
      <AccountDevices />
      <AccountActivity />
      <AccountStorage usage={account.details?.usage} />
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
