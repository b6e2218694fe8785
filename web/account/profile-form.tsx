import { maxLength } from '@tasktide/client'
import { useId, useState } from 'preact/hooks'
import { SelectField } from '../forms/select-field.tsx'
import { TextField } from '../forms/text-field.tsx'
import { Section } from './page.tsx'
import type { EditableProfile } from './profile.ts'

/** Display name, timezone and language. */
export function AccountProfile({ profile: { profile, change } }: { profile: EditableProfile }) {
  const id = useId()
  const [name, setName] = useState<string | null>(null)
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone
  const zones = new Set([...Intl.supportedValuesOf('timeZone'), 'UTC', here, profile.timezone])
  const languages = new Map([...LANGUAGES, [profile.locale, nameOf(profile.locale)]])
  const limit = maxLength('profile', 'display_name')

  async function keepName(written: string) {
    if (limit !== undefined && written.length > limit) return
    if (await change({ display_name: written.trim() })) setName(null)
  }

  return (
    <Section title="Profile" hint="Changes are saved at once and synced to your other devices.">
      <TextField
        label="Display name"
        autocomplete="name"
        limit={limit}
        value={name ?? profile.display_name}
        onInput={(event) => setName(event.currentTarget.value)}
        onChange={(event) => void keepName(event.currentTarget.value)}
      />
      <div class="pair">
        <div>
          <SelectField
            label="Timezone"
            value={profile.timezone}
            options={[...zones].sort().map((zone) => [zone, zone.replaceAll('_', ' ')])}
            describedBy={`${id}-zone`}
            onChange={(timezone) => void change({ timezone })}
          />
          <p class="hint" id={`${id}-zone`}>
            For due times and reminders.
          </p>
          {here !== profile.timezone && (
            <button type="button" onClick={() => void change({ timezone: here })}>
              Use {here.replaceAll('_', ' ')} (this device)
            </button>
          )}
        </div>
        <SelectField
          label="Language of mails"
          value={profile.locale}
          options={[...languages]}
          onChange={(locale) => void change({ locale })}
        />
      </div>
    </Section>
  )
}

/** The languages of mails. */
const LANGUAGES: [string, string][] = [
  ['en', 'English'],
  ['de', 'Deutsch'],
]

const nameOf = (locale: string) =>
  new Map(LANGUAGES).get(locale) ??
  new Intl.DisplayNames(['en'], { type: 'language' }).of(locale) ??
  locale
