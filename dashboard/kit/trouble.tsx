import type { ReactNode } from 'react'

/** Says at once, also to those who do not see it, what went wrong. */
export function Trouble({ children }: { readonly children: ReactNode }) {
  return (
    <p className="trouble" role="alert">
      {children}
    </p>
  )
}
