import type { InputHTMLAttributes } from 'preact'
import { useId } from 'preact/hooks'

type TextFieldProps = InputHTMLAttributes & {
  label: string
  hint?: string | undefined
  errors?: string[] | undefined
}

/** An input with its label, and what is wrong with it. */
export function TextField({ label, hint, errors, ...input }: TextFieldProps) {
  const id = useId()
  const note = errors?.join(' ') ?? hint
  return (
    <div class="field">
      <label htmlFor={id}>{label}</label>
      <input
        {...input}
        id={id}
        aria-invalid={errors ? true : undefined}
        aria-describedby={note ? `${id}-note` : undefined}
      />
      {note && (
        <p id={`${id}-note`} class={errors ? 'fault' : 'hint'}>
          {note}
        </p>
      )}
    </div>
  )
}
