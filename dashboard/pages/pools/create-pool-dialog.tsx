import { useState } from 'react'
import { useLocation } from 'wouter'
import { createPool } from '../../api/pools.ts'
import { Dialog } from '../../kit/dialog.tsx'
import { TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'

export function CreatePoolDialog({ onClose }: { readonly onClose: () => void }) {
  const [name, setName] = useState('')
  const [description, setDescription] = useState('')
  const [, go] = useLocation()
  const create = useAction(createPool, pool => `Created the pool ${pool.name}`, [['pools']], 'form')
  return (
    <Dialog title="Create a runner pool" onClose={onClose}>
      <Form
        action="Create pool"
        mutation={create}
        onSubmit={() =>
          create.mutate({ name, description }, { onSuccess: pool => go(`/environments/runners/${pool.id}`) })
        }
        onCancel={onClose}
      >
        {errors => (
          <>
            <TextField
              label="Name"
              value={name}
              onChange={setName}
              required
              autoFocus
              placeholder="office-berlin"
              error={errors.get('name')}
            />
            <TextField
              label="Description"
              value={description}
              onChange={setDescription}
              hint="Where its runners are, and who looks after them."
              error={errors.get('description')}
            />
          </>
        )}
      </Form>
    </Dialog>
  )
}
