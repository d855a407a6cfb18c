import { type ReactNode, useEffect, useId, useRef } from 'react'
import { Button } from './button.tsx'
import { raiseNotices } from './notices.tsx'

export interface DialogProps {
  readonly title: string
  readonly onClose: () => void
  /** A dialog that must be answered is not closed by Escape or by a click beside it. */
  readonly isRequired?: boolean
  readonly children: ReactNode
}

/** The browser's own modal dialog: focus stays inside and goes back where it was. */
export function Dialog({ title, onClose, isRequired = false, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null)
  const titleId = useId()
  useEffect(() => {
    const dialog = ref.current
    const before = document.activeElement
    dialog?.showModal()
    // Whoever opens a form wants to fill it in, and the button that closes it comes first.
    dialog?.querySelector<HTMLElement>('form :is(input, select, textarea)')?.focus()
    raiseNotices()
    return () => {
      dialog?.close()
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={ref}
      className="dialog"
      aria-labelledby={titleId}
      onKeyDown={event => {
        // A browser asks for leave to close a few times only, and closes then.
        if (isRequired && event.key === 'Escape') event.preventDefault()
      }}
      onCancel={event => {
        event.preventDefault()
        if (!isRequired) onClose()
      }}
      onClose={() => {
        // By a way that does not ask, such as a phone's gesture.
        if (isRequired) ref.current?.showModal()
      }}
    >
      <header>
        <h2 id={titleId}>{title}</h2>
        {!isRequired && (
          <Button look="quiet" aria-label="Close" onClick={onClose}>
            ✕
          </Button>
        )}
      </header>
      {children}
    </dialog>
  )
}
