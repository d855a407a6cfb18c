import { type ReactNode, useEffect } from 'react'
import { Link } from 'wouter'

interface PageProps {
  readonly title: string
  /** The places this one lies in. */
  readonly trail?: readonly { readonly label: string; readonly href: string }[]
  readonly actions?: ReactNode
  readonly children: ReactNode
}

export function Page({ title, trail = [], actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} – Self-hosted runners`
  }, [title])
  return (
    <article className="page">
      <header>
        <div>
          {trail.length > 0 && (
            <nav aria-label="Where this is">
              {trail.map(({ label, href }) => (
                <Link key={href} href={href}>
                  {label}
                </Link>
              ))}
            </nav>
          )}
          <h1>{title}</h1>
        </div>
        {actions !== undefined && <div className="actions">{actions}</div>}
      </header>
      {children}
    </article>
  )
}
