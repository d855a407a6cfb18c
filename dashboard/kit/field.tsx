import { type HTMLInputTypeAttribute, type ReactNode, useId } from 'react'

export interface FieldProps {
  readonly label: string
  readonly hint?: ReactNode
  /** What is wrong with it, in the API's words. */
  readonly error?: string | undefined
}

interface TextFieldProps extends FieldProps {
  readonly value: string
  readonly onChange: (value: string) => void
  readonly type?: HTMLInputTypeAttribute
  readonly rows?: number
  readonly placeholder?: string
  readonly autoComplete?: string
  readonly autoFocus?: boolean
  readonly required?: boolean
}

export function TextField({ rows, type = 'text', onChange, autoFocus, ...rest }: TextFieldProps) {
  const { value, placeholder, autoComplete = 'off', required } = rest
  return (
    <Field {...rest}>
      {attributes => {
        const input = { ...attributes, value, placeholder, required, autoComplete, spellCheck: false }
        return rows === undefined ? (
          <input
            {...input}
            type={type}
            // biome-ignore lint/a11y/noAutofocus: the first field of a form that was just asked for
            autoFocus={autoFocus}
            onChange={event => onChange(event.target.value)}
          />
        ) : (
          <textarea {...input} rows={rows} onChange={event => onChange(event.target.value)} />
        )
      }}
    </Field>
  )
}

interface SelectFieldProps<Value extends string> extends FieldProps {
  readonly value: Value
  readonly onChange: (value: Value) => void
  readonly options: readonly { readonly value: Value; readonly label: string }[]
}

export function SelectField<Value extends string>({ onChange, options, ...rest }: SelectFieldProps<Value>) {
  return (
    <Field {...rest}>
      {attributes => (
        <select {...attributes} value={rest.value} onChange={event => onChange(event.target.value as Value)}>
          {options.map(({ value, label }) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      )}
    </Field>
  )
}

interface InputAttributes {
  readonly id: string
  readonly 'aria-invalid': boolean
  readonly 'aria-describedby': string | undefined
}

export function Field({
  label,
  hint,
  error,
  children,
}: FieldProps & { readonly children: (attributes: InputAttributes) => ReactNode }) {
  const id = useId()
  const said = error ?? hint
  const about = said === undefined ? undefined : `${id}-about`
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, 'aria-invalid': error !== undefined, 'aria-describedby': about })}
      {said !== undefined && (
        <p id={about} className={error === undefined ? 'hint' : 'wrong'}>
          {said}
        </p>
      )}
    </div>
  )
}
