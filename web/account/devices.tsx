import type { PersonalToken, SignedInDevice } from '@tasktide/client'
import { useEffect, useState } from 'preact/hooks'
import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { useRequest } from '../forms/request.ts'
import { formatMoment } from '../time/moments.ts'
import { ErasureDialog } from './erasure.tsx'
import { Section } from './page.tsx'
import { PersonalTokens } from './personal-tokens.tsx'

/** Lists the sessions and the tokens of scripts, and revokes them. */
export function AccountDevices() {
  const { account } = useClient()
  const [devices, setDevices] = useState<SignedInDevice[]>([])
  const [tokens, setTokens] = useState<PersonalToken[]>([])
  const [lost, setLost] = useState<SignedInDevice>()
  const { isBusy, fault, run } = useRequest()
  const list = (after?: Promise<void>) =>
    run(async () => {
      await after
      setDevices(await account.sessions())
      setTokens(await account.personalTokens())
    })
  useEffect(() => void list(), [])

  return (
    <Section
      title="Devices"
      hint="Your signed-in devices. You can sign out each of them, and erase one that is lost."
    >
      <ul class="devices" aria-label="Devices">
        {devices.map((device) => (
          <li key={device.id} aria-label={device.device}>
            <span class="device">
              {device.device}
              {device.current && <span class="tag">This device</span>}
            </span>
            <span class="hint">Last seen {formatMoment(device.last_seen_at)}</span>
            {!device.current && (
              <span class="beside">
                <button
                  type="button"
                  aria-label={`Sign out ${device.device}, last seen ${formatMoment(device.last_seen_at)}`}
                  disabled={isBusy}
                  onClick={() => list(account.endSession(device.id))}
                >
                  Sign out
                </button>
                <button
                  type="button"
                  class="danger"
                  aria-label={`Erase ${device.device}, last seen ${formatMoment(device.last_seen_at)}`}
                  disabled={isBusy}
                  onClick={() => setLost(device)}
                >
                  Erase
                </button>
              </span>
            )}
          </li>
        ))}
      </ul>
      <PersonalTokens
        tokens={tokens}
        isBusy={isBusy}
        onRevoke={({ id }) => list(account.revokePersonalToken(id))}
      />
      {lost && (
        <ErasureDialog
          device={lost}
          onCancel={() => setLost(undefined)}
          onErase={() => {
            setLost(undefined)
            void list(account.endSession(lost.id, { erase: true }))
          }}
        />
      )}
      <Fault text={fault} />
      {fault && (
        <button type="button" onClick={() => list()}>
          Try again
        </button>
      )}
      {devices.length > 1 && (
        <button type="button" disabled={isBusy} onClick={() => list(account.endOtherSessions())}>
          Sign out all other devices{tokens.length > 0 && ' and scripts'}
        </button>
      )}
    </Section>
  )
}
