import { useQuery } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { type NamedSource, useNames } from '../api/named.ts'
import { Field, type FieldProps } from './field.tsx'
import { shortId } from './ids.ts'

/** Whoever types is not asked after at every letter. */
const TYPED_MS = 250
/** Matches are shown below what is typed, without another click. */
const MATCHES_SHOWN = 6

interface ChoiceFieldProps extends FieldProps {
  readonly source: NamedSource
  /** The id of what is chosen; empty for none. */
  readonly value: string
  readonly onChange: (id: string) => void
  /** What choosing none is called; it cannot be chosen without. */
  readonly none?: string
  /** What to do where there is nothing to choose. */
  readonly nothing?: string
}

/** One of a tenant's own things. Where a page does not hold them all, the others are found by their names. */
export function ChoiceField({ source, value, onChange, none, nothing, ...rest }: ChoiceFieldProps) {
  const [text, setText] = useState('')
  const settled = useSettled(text.trim())
  const all = useQuery(source.matching('')).data
  const { data: found, isPlaceholderData: isLate } = useQuery(source.matching(settled))
  const { names } = useNames(source, value === '' ? [] : [value])
  const items = found?.items ?? []
  const isSearched = text !== ''
  const isFound = value === '' || items.some(({ id }) => id === value)
  const takeFirst = () => {
    const [first] = items
    if (!isSearched || isLate || settled !== text.trim() || first === undefined) return
    onChange(first.id)
    setText('')
  }
  return (
    <Field {...rest} hint={isSearched ? matchWords(found) : all?.items.length === 0 ? nothing : rest.hint}>
      {attributes => (
        // biome-ignore lint/a11y/noStaticElementInteractions: it only hears that the focus has left both fields
        <div
          className="choice"
          onBlur={({ currentTarget, relatedTarget }) => {
            if (!currentTarget.contains(relatedTarget)) setText('')
          }}
        >
          {all !== undefined && all.next_cursor !== null && (
            <input
              type="search"
              aria-label={`Find by name: ${rest.label}`}
              placeholder="Find by name"
              value={text}
              onChange={event => setText(event.target.value)}
              onKeyDown={event => {
                if (event.key !== 'Enter') return
                event.preventDefault()
                takeFirst()
              }}
            />
          )}
          <select
            {...attributes}
            value={value}
            size={isSearched ? MATCHES_SHOWN : undefined}
            onChange={event => onChange(event.target.value)}
          >
            {none !== undefined && <option value="">{none}</option>}
            {!isFound && <option value={value}>{names.get(value) ?? shortId(value)}</option>}
            {items.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </div>
      )}
    </Field>
  )
}

function matchWords(
  found: { readonly items: readonly unknown[]; readonly next_cursor: unknown } | undefined,
) {
  if (found === undefined) return 'Looking …'
  if (found.next_cursor !== null) return `The newest ${found.items.length} of those that match.`
  return found.items.length === 0 ? 'None has that in its name.' : `${found.items.length} found.`
}

function useSettled(text: string): string {
  const [settled, setSettled] = useState(text)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), TYPED_MS)
    return () => clearTimeout(timer)
  }, [text])
  return settled
}
