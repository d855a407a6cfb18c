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
  /** Has to be typed: what cannot be undone is not done by a slip of the hand. */
  readonly name: string
  readonly action: string
  readonly onConfirm: () => Promise<unknown>
  readonly onClose: () => void
}

/** Asks before something is destroyed, with the name of the thing. */
export function Confirm({ title, children, name, action, onConfirm, onClose }: ConfirmProps) {
  const [typed, setTyped] = useState('')
  const [isBusy, setBusy] = useState(false)
  const [trouble, setTrouble] = useState<string | null>(null)
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
        <TextField label={`Type ${name} to confirm`} value={typed} onChange={setTyped} autoFocus />
        {trouble !== null && <Trouble>{trouble}</Trouble>}
        <footer>
          <Button onClick={onClose}>Keep it</Button>
          <Button type="submit" look="danger" busy={isBusy} disabled={typed.trim() !== name.trim()}>
            {action}
          </Button>
        </footer>
      </form>
    </Dialog>
  )
}
