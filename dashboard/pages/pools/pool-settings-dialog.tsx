import { useState } from 'react'
import type { Pool } from '../../../protocol/admin-api.ts'
import { updatePool } from '../../api/pools.ts'
import { Dialog } from '../../kit/dialog.tsx'
import { TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'

export function PoolSettingsDialog({ pool, onClose }: { readonly pool: Pool; readonly onClose: () => void }) {
  const [name, setName] = useState(pool.name)
  const [description, setDescription] = useState(pool.description)
  const save = useAction(
    () => updatePool(pool.id, { name, description }),
    () => `Saved ${name}`,
    [['pools']],
    'form',
  )
  return (
    <Dialog title="Pool settings" onClose={onClose}>
      <Form
        action="Save"
        mutation={save}
        onSubmit={() => save.mutate(undefined, { onSuccess: onClose })}
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
              error={errors.get('name')}
            />
            <TextField
              label="Description"
              value={description}
              onChange={setDescription}
              error={errors.get('description')}
            />
            <p className="soft">
              Pool id <code>{pool.id}</code>: runners join with it as RUNNER_POOL_ID.
            </p>
          </>
        )}
      </Form>
    </Dialog>
  )
}
