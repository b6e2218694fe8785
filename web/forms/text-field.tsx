import type { InputHTMLAttributes } from 'preact'
import { useId } from 'preact/hooks'
import { useTextLimit } from './text-limit.ts'

type TextFieldProps = InputHTMLAttributes & {
  label: string
  hint?: string | undefined
  errors?: string[] | undefined
  /** The maximum length that the server accepts. */
  limit?: number | undefined
}

/** An input with its label and its errors. */
export function TextField({ label, hint, errors, limit, ...input }: TextFieldProps) {
  const id = useId()
  const text = useTextLimit<HTMLInputElement>(limit, {
    initial: String(input.defaultValue ?? input.value ?? ''),
    isRequired: limit !== undefined && input.required === true,
  })
  const fault = text.fault || errors?.join(' ')
  const note = fault || text.hint || hint
  return (
    <div class="field">
      <label htmlFor={id}>{label}</label>
      <input
        {...input}
        ref={text.field}
        onInput={(event) => {
          text.look(event.currentTarget.value)
          input.onInput?.(event)
        }}
        id={id}
        aria-invalid={fault ? true : undefined}
        aria-describedby={note ? `${id}-note` : undefined}
      />
      {note && (
        <p id={`${id}-note`} class={fault ? 'fault' : 'hint'}>
          {note}
        </p>
      )}
    </div>
  )
}

interface TextAreaProps {
  label: string
  name: string
  defaultValue: string
  limit: number | undefined
  errors?: string[] | undefined
}

/** The same for multi-line text. */
export function TextArea({ label, limit, errors, ...area }: TextAreaProps) {
  const id = useId()
  const text = useTextLimit<HTMLTextAreaElement>(limit, { initial: area.defaultValue })
  const fault = text.fault || errors?.join(' ')
  const note = fault || text.hint
  return (
    <div class="field">
      <label htmlFor={id}>{label}</label>
      <textarea
        {...area}
        ref={text.field}
        rows={4}
        onInput={(event) => text.look(event.currentTarget.value)}
        id={id}
        aria-invalid={fault ? true : undefined}
        aria-describedby={note ? `${id}-note` : undefined}
      />
      {note && (
        <p id={`${id}-note`} class={fault ? 'fault' : 'hint'}>
          {note}
        </p>
      )}
    </div>
  )
}
