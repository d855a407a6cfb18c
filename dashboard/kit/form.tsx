import type { ReactNode } from 'react'
import { fieldErrors, messageOf } from '../api/client.ts'
import { Button } from './button.tsx'
import { Trouble } from './trouble.tsx'

interface FormProps {
  readonly action: string
  /** What it acts on is known; until then there is nothing to press. */
  readonly isReady?: boolean
  readonly mutation: { readonly isPending: boolean; readonly error: unknown }
  readonly onSubmit: () => void
  readonly onCancel?: () => void
  /** @param errors what the API found wrong, by field */
  readonly children: (errors: ReadonlyMap<string, string>) => ReactNode
}

/** What was typed stays when it is refused, with the API's words at the field they are about. */
export function Form({ action, isReady = true, mutation, onSubmit, onCancel, children }: FormProps) {
  return (
    <form
      className="stack"
      onSubmit={event => {
        event.preventDefault()
        onSubmit()
      }}
    >
      {children(fieldErrors(mutation.error))}
      {mutation.error !== null && <Trouble>{messageOf(mutation.error)}</Trouble>}
      <footer>
        {onCancel !== undefined && <Button onClick={onCancel}>Cancel</Button>}
        <Button type="submit" look="primary" busy={mutation.isPending} disabled={!isReady}>
          {action}
        </Button>
      </footer>
    </form>
  )
}
