import { useRef, useState } from 'preact/hooks'
import { TextField } from '../forms/text-field.tsx'
import { likelyMoments, localOf } from '../time/moments.ts'

interface ReminderFieldProps {
  remindAt: string | null
  errors: string[] | undefined
}

/** When to remind, where the device is. In the form as `remind_at`. */
export function ReminderField({ remindAt, errors }: ReminderFieldProps) {
  const field = useRef<HTMLDivElement>(null)
  const initial = remindAt ? localOf(new Date(remindAt)) : ''
  const [isSet, setIsSet] = useState(initial !== '')

  /** Not by its state: what is half written in such an input has no value. */
  function fill(local: string) {
    const input = field.current!.querySelector('input')!
    input.value = local
    input.focus()
    // As if it had been typed: the form keeps it as a draft, too.
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
