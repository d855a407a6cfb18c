import { Link } from 'wouter'
import { Refused } from '../api/client.ts'
import { Page } from './page.tsx'

interface MissingProps {
  /** What the address would have to name. */
  readonly what: string
  readonly back: { readonly label: string; readonly href: string }
}

/** An address that names nothing, or nothing any more, and where to look for what was meant. */
export function Missing({ what, back: { label, href } }: MissingProps) {
  return (
    <Page title={`There is no such ${what}`}>
      <div className="empty">
        <p>
          <code>{location.pathname}</code> names no {what} of this tenant. It may have been deleted, or the
          address was not copied wholly.
        </p>
        <Link className="button primary" href={href}>
          {label}
        </Link>
      </div>
    </Page>
  )
}

export function isMissing(error: Error | null): boolean {
  return error instanceof Refused && error.code === 'not_found'
}
