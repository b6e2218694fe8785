import { useId } from 'preact/hooks'

interface SelectFieldProps {
  label: string
  value: string
  options: readonly (readonly [value: string, text: string])[]
  describedBy?: string | undefined
  disabled?: boolean
  onChange: (value: string) => void
}

/** A select with its label. */
export function SelectField(props: SelectFieldProps) {
  const id = useId()
  const { label, value, options, describedBy, disabled, onChange } = props
  return (
    <div class="field">
      <label htmlFor={id}>{label}</label>
      <select
        id={id}
        value={value}
        disabled={disabled}
        aria-describedby={describedBy}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        {options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </div>
  )
}
