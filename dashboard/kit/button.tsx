import type { ButtonHTMLAttributes } from 'react'

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  readonly look?: 'plain' | 'primary' | 'danger' | 'quiet'
  /** What it started is not done yet; it takes no second press. */
  readonly busy?: boolean
}

export function Button({ look = 'plain', busy = false, disabled, children, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      className={`button ${look}`}
      disabled={disabled === true || busy}
      aria-busy={busy}
      {...rest}
    >
      {children}
    </button>
  )
}
