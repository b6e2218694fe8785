import { useId, useState } from 'preact/hooks'
import { Section } from './account-page.tsx'
import type { EditableProfile } from './profile.ts'
import { SelectField } from './select-field.tsx'
import { TextField } from './text-field.tsx'

/** What the person is called, where they are, what they read. */
export function AccountProfile({ profile: { profile, change } }: { profile: EditableProfile }) {
  const id = useId()
  const [name, setName] = useState<string | null>(null)
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone
  const zones = new Set([...Intl.supportedValuesOf('timeZone'), 'UTC', here, profile.timezone])
  const languages = new Map([...LANGUAGES, [profile.locale, nameOf(profile.locale)]])
  return (
    <Section title="Profile" hint="Changes are kept at once, and reach your other devices by sync.">
      <TextField
        label="Display name"
        autocomplete="name"
        maxLength={150}
        value={name ?? profile.display_name}
        onInput={(event) => setName(event.currentTarget.value)}
        onChange={(event) => {
          setName(null)
          change({ display_name: event.currentTarget.value.trim() })
        }}
      />
      <div class="pair">
        <div>
          <SelectField
            label="Timezone"
            value={profile.timezone}
            options={[...zones].sort().map((zone) => [zone, zone.replaceAll('_', ' ')])}
            describedBy={`${id}-zone`}
            onChange={(timezone) => change({ timezone })}
          />
          <p class="hint" id={`${id}-zone`}>
            Due times and reminders are meant in it.
          </p>
          {here !== profile.timezone && (
            <button type="button" onClick={() => change({ timezone: here })}>
              Use {here.replaceAll('_', ' ')}, as this device
            </button>
          )}
        </div>
        <SelectField
          label="Language of mails"
          value={profile.locale}
          options={[...languages]}
          onChange={(locale) => change({ locale })}
        />
      </div>
    </Section>
  )
}

/** Those that mails are written in. */
const LANGUAGES: [string, string][] = [
  ['en', 'English'],
  ['de', 'Deutsch'],
]

const nameOf = (locale: string) =>
  new Map(LANGUAGES).get(locale) ??
  new Intl.DisplayNames(['en'], { type: 'language' }).of(locale) ??
  locale
