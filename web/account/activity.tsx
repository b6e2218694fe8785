import type { SecurityEvent } from '@tasktide/client'
import { useEffect, useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { useRequest } from '../forms/request.ts'
import { formatMoment } from '../time/moments.ts'
import { Section } from './page.tsx'

const SHOWN_AT_FIRST = 5

/** Lists what happened to the account, or was tried. */
export function AccountActivity() {
  const { account } = useClient()
  const [events, setEvents] = useState<SecurityEvent[]>([])
  const [isWhole, setIsWhole] = useState(false)
  const { fault, run } = useRequest()
  const list = () => run(async () => setEvents(await account.events()))
  useEffect(() => void list(), [])

  return (
    <Section
      title="Recent activity"
      hint="If you do not recognize something, change the password and sign out your other devices."
    >
      <ul class="devices" aria-label="Recent activity">
        {events.slice(0, isWhole ? undefined : SHOWN_AT_FIRST).map((event) => (
          <li key={event.id}>
            <span class="device">
              {nameOf(event)}
              {event.outcome === 'refused' && <span class="tag is-open">Refused</span>}
            </span>
            <span class="hint">{whereOf(event)}</span>
          </li>
        ))}
      </ul>
      <Fault text={fault} />
      {fault && (
        <button type="button" onClick={list}>
          Try again
        </button>
      )}
      {!isWhole && events.length > SHOWN_AT_FIRST && (
        <button type="button" onClick={() => setIsWhole(true)}>
          Show all activity
        </button>
      )}
    </Section>
  )
}

const NAMES: Readonly<Record<string, string>> = {
  registered: 'Account created',
  sign_in: 'Sign-in',
  sign_out: 'Sign-out',
  session_ended: 'Device signed out',
  token_reused: 'Copy of a sign-in used, so the device was signed out',
  token_created: 'Personal token created',
  password_change: 'Password change',
  password_reset_request: 'Link for a new password requested',
  password_reset: 'Password reset',
  email_change_request: 'Change of the email address requested',
  email_change: 'Email address changed',
  email_confirmed: 'Email address confirmed',
  export: 'Export',
  deletion: 'Deletion of the account',
  read_by_staff: 'Account read by staff',
  changed_by_staff: 'Account changed by staff',
}

/** A later server may have other kinds. */
function nameOf({ kind }: SecurityEvent): string {
  if (NAMES[kind]) return NAMES[kind]
  const words = kind.replaceAll('_', ' ')
  return `${words[0]?.toUpperCase()}${words.slice(1)}`
}

function whereOf({ last_at, times, device, network }: SecurityEvent): string {
  const parts = [formatMoment(last_at), device, network, times > 1 && `${times} times`]
  return parts.filter(Boolean).join(' · ')
}
