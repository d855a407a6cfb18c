import type { CSSProperties, ReactNode } from 'react'

interface TableProps {
  /** What the table lists, for those who hear it. */
  readonly label: string
  /** Headings; an empty one stands over buttons. */
  readonly head: readonly string[]
  readonly children: ReactNode
}

/** On a narrow screen every row is a card, and the style sheet writes the headings into its cells. */
export function Table({ label, head, children }: TableProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls on a narrow screen, so the keyboard must reach it
    <section className="table" aria-label={label} tabIndex={0} style={headings(head)}>
      <table>
        <thead>
          <tr>
            {head.map(heading => (
              <th key={heading} scope="col">
                {heading === '' ? <span className="visually-hidden">Actions</span> : heading}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  )
}

function headings(head: readonly string[]): CSSProperties {
  return Object.fromEntries(head.map((heading, at) => [`--head-${at + 1}`, JSON.stringify(heading)]))
}
