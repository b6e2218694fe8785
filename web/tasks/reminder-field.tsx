import { useRef, useState } from 'preact/hooks'
import { TextField } from '../forms/text-field.tsx'
import { likelyMoments, localOf } from '../time/moments.ts'

interface ReminderFieldProps {
  remindAt: string | null
  errors: string[] | undefined
}

/** The reminder, in the device's timezone. In the form as `remind_at`. */
export function ReminderField({ remindAt, errors }: ReminderFieldProps) {
  const field = useRef<HTMLDivElement>(null)
  const initial = remindAt ? localOf(new Date(remindAt)) : ''
  const [isSet, setIsSet] = useState(initial !== '')

  /** Uncontrolled, because an incomplete date input has no value. */
  function fill(local: string) {
    const input = field.current!.querySelector('input')!
    input.value = local
    input.focus()
    // Dispatched like user input, so that the form stores it as a draft.
    input.dispatchEvent(new Event('input', { bubbles: true }))
  }

  return (
    <div ref={field} class="reminder">
      <TextField
        label="Remind me"
        name="remind_at"
        type="datetime-local"
        defaultValue={initial}
        onInput={(event) => setIsSet(event.currentTarget.value !== '')}
        errors={errors}
      />
      <fieldset class="choices">
        <legend class="unseen">Remind me</legend>
        {likelyMoments().map(([name, local]) => (
          <button key={name} type="button" onClick={() => fill(local)}>
            {name}
          </button>
        ))}
        {isSet && (
          <button type="button" onClick={() => fill('')}>
            No reminder
          </button>
        )}
      </fieldset>
    </div>
  )
}
