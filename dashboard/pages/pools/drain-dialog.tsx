import { useState } from 'react'
import { Dialog } from '../../kit/dialog.tsx'
import { TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'

interface DrainDialogProps {
  /** Name of the pool or the runner. */
  readonly what: string
  readonly drain: (note: string) => Promise<unknown>
  readonly changes: readonly (readonly unknown[])[]
  readonly onClose: () => void
}

export function DrainDialog({ what, drain, changes, onClose }: DrainDialogProps) {
  const [note, setNote] = useState('')
  const action = useAction(drain, () => `${what} is draining`, changes, 'form')
  return (
    <Dialog title={`Drain ${what}`} onClose={onClose}>
      <Form
        action="Drain"
        mutation={action}
        onSubmit={() => action.mutate(note, { onSuccess: onClose })}
        onCancel={onClose}
      >
        {errors => (
          <>
            <p>It is given no new lease. Sessions that run go on to their end, and Resume takes it back.</p>
            <TextField
              label="Note"
              value={note}
              onChange={setNote}
              autoFocus
              placeholder="Kernel update, back at 18:00"
              hint="Shown wherever the drain is."
              error={errors.get('note')}
            />
          </>
        )}
      </Form>
    </Dialog>
  )
}
