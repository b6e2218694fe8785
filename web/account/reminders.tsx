import { useId } from 'preact/hooks'
import { SelectField } from '../forms/select-field.tsx'
import { Section } from './page.tsx'
import type { EditableProfile } from './profile.ts'

/** Settings of reminders and digests. */
export function AccountReminders({ profile: { profile, change } }: { profile: EditableProfile }) {
  const { remind_minutes_before: minutes, email_notifications: areWelcome } = profile
  const intervals = INTERVALS.some(([value]) => value === minutes)
    ? INTERVALS
    : [...INTERVALS, [minutes, `${minutes} minutes before`] as const]
  return (
    <Section title="Reminders" hint="By email. The reminder of a task overrides these defaults.">
      <label class="choice">
        <input
          type="checkbox"
          checked={areWelcome}
          onChange={(event) => void change({ email_notifications: event.currentTarget.checked })}
        />
        Send me reminders by email
      </label>
      <SelectField
        label="Tasks with a due time"
        value={String(minutes)}
        options={intervals.map(([value, text]) => [String(value), text])}
        disabled={!areWelcome}
        onChange={(value) => void change({ remind_minutes_before: JSON.parse(value) })}
      />
      <TimeChoice
        label="Tasks without a due time"
        time={profile.remind_all_day_at}
        usual="08:00"
        disabled={!areWelcome}
        onChange={(remind_all_day_at) => void change({ remind_all_day_at })}
      />
      <TimeChoice
        label="Daily summary of due and overdue tasks"
        time={profile.digest_at}
        usual="07:30"
        disabled={!areWelcome}
        onChange={(digest_at) => void change({ digest_at })}
      />
    </Section>
  )
}

const INTERVALS: readonly (readonly [number | null, string])[] = [
  [null, 'No reminder'],
  [0, 'At the due time'],
  [5, '5 minutes before'],
  [10, '10 minutes before'],
  [15, '15 minutes before'],
  [30, '30 minutes before'],
  [60, '1 hour before'],
  [120, '2 hours before'],
  [24 * 60, '1 day before'],
  [2 * 24 * 60, '2 days before'],
  [7 * 24 * 60, '1 week before'],
]

interface TimeChoiceProps {
  label: string
  /** Null means off. */
  time: string | null
  usual: string
  disabled: boolean
  onChange: (time: string | null) => void
}

function TimeChoice({ label, time, usual, disabled, onChange }: TimeChoiceProps) {
  const id = useId()
  return (
    <div class="time-choice">
      <label class="choice" id={id}>
        <input
          type="checkbox"
          checked={time !== null}
          disabled={disabled}
          onChange={(event) => onChange(event.currentTarget.checked ? usual : null)}
        />
        {label}
      </label>
      {time !== null && (
        <input
          type="time"
          aria-label={`${label}, at`}
          value={time}
          disabled={disabled}
          onChange={(event) => {
            const chosen = event.currentTarget.value.slice(0, 5)
            if (chosen) onChange(chosen)
          }}
        />
      )}
    </div>
  )
}
