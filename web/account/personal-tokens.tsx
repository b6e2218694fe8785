import type { PersonalToken } from '@tasktide/client'
import { formatMoment } from '../time/moments.ts'

interface PersonalTokensProps {
  tokens: readonly PersonalToken[]
  isBusy: boolean
  onRevoke: (token: PersonalToken) => void
}

/** The tokens with which scripts use the account. Most people have none. */
export function PersonalTokens({ tokens, isBusy, onRevoke }: PersonalTokensProps) {
  if (tokens.length === 0) return null
  return (
    <ul class="devices" aria-label="Tokens of scripts">
      {tokens.map((token) => (
        <li key={token.id} aria-label={token.name}>
          <span class="device">
            {token.name}
            <span class="tag">Script</span>
          </span>
          <span class="hint">
            {token.last_used_at
              ? `Last used ${formatMoment(token.last_used_at)}`
              : `Created ${formatMoment(token.created_at)}, never used`}
            . May use {token.scopes.join(', ')}
          </span>
          <span class="beside">
            <button
              type="button"
              aria-label={`Revoke ${token.name}`}
              disabled={isBusy}
              onClick={() => onRevoke(token)}
            >
              Revoke
            </button>
          </span>
        </li>
      ))}
    </ul>
  )
}
