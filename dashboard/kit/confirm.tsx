import { type ReactNode, useState } from 'react'
import { messageOf } from '../api/client.ts'
import { Button } from './button.tsx'
import { Dialog } from './dialog.tsx'
import { TextField } from './field.tsx'
import { Trouble } from './trouble.tsx'

export interface ConfirmProps {
  readonly title: string
  /** What will happen. */
  readonly children: ReactNode
  /** Has to be typed: what cannot be undone is not done by a slip of the hand. Null where asking is enough. */
  readonly name: string | null
  readonly action: string
  /** The way out of it. */
  readonly keep?: string
  readonly onConfirm: () => Promise<unknown>
  readonly onClose: () => void
}

/** Asks before something is destroyed, with the name of the thing. */
export function Confirm({
  title,
  children,
  name,
  action,
  keep = 'Keep it',
  onConfirm,
  onClose,
}: ConfirmProps) {
  const [typed, setTyped] = useState('')
  const [isBusy, setBusy] = useState(false)
  const [trouble, setTrouble] = useState<string | null>(null)
  const asked = name === null ? null : typable(name)
  const confirm = async () => {
    setBusy(true)
    setTrouble(null)
    try {
      await onConfirm()
      onClose()
    } catch (error) {
      setTrouble(messageOf(error))
      setBusy(false)
    }
  }
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        className="stack"
        onSubmit={event => {
          event.preventDefault()
          void confirm()
        }}
      >
        <div>{children}</div>
        {asked !== null && (
          <TextField label={`Type ${asked} to confirm`} value={typed} onChange={setTyped} autoFocus />
        )}
        {trouble !== null && <Trouble>{trouble}</Trouble>}
        <footer>
          <Button onClick={onClose}>{keep}</Button>
          <Button
            type="submit"
            look="danger"
            busy={isBusy}
            disabled={asked !== null && typed.trim() !== asked}
          >
            {action}
          </Button>
        </footer>
      </form>
    </Dialog>
  )
}

/** Of something that is known by its beginning and its end: the end, because no keyboard has what is between. */
function typable(name: string): string {
  return (name.split('…').findLast(part => part.trim() !== '') ?? name).trim()
}
