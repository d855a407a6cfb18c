import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import type { Environment, ExecutionTarget } from '../../../protocol/admin-api.ts'
import { createEnvironment, type EnvironmentDraft, updateEnvironment } from '../../api/environments.ts'
import { poolNames, poolQuery } from '../../api/pools.ts'
import { ChoiceField } from '../../kit/choice-field.tsx'
import { Dialog } from '../../kit/dialog.tsx'
import { SelectField, TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'

const TARGETS: readonly { value: ExecutionTarget; label: string }[] = [
  { value: 'self_hosted', label: 'Self-hosted runner' },
  { value: 'cloud', label: 'Cloud' },
]

interface EnvironmentDialogProps {
  /** Null for a new one. */
  readonly environment: Environment | null
  readonly onClose: () => void
}

export function EnvironmentDialog({ environment, onClose }: EnvironmentDialogProps) {
  const [name, setName] = useState(environment?.name ?? '')
  const [target, setTarget] = useState<ExecutionTarget>(environment?.execution_target ?? 'self_hosted')
  const [poolId, setPoolId] = useState(environment?.pool_id ?? '')
  const [image, setImage] = useState(environment?.default_image ?? '')
  const draft: EnvironmentDraft = {
    name,
    execution_target: target,
    pool_id: target === 'self_hosted' && poolId !== '' ? poolId : null,
    default_image: image.trim() === '' ? null : image.trim(),
  }
  const save = useAction(
    () => (environment === null ? createEnvironment(draft) : updateEnvironment(environment.id, draft)),
    saved => `Saved the environment ${saved.name}`,
    [['environments']],
    'form',
  )
  return (
    <Dialog
      title={environment === null ? 'Create an environment' : `Edit ${environment.name}`}
      onClose={onClose}
    >
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
            <SelectField
              label="Execution target"
              value={target}
              onChange={setTarget}
              options={TARGETS}
              error={errors.get('execution_target')}
            />
            {target === 'self_hosted' && (
              <ChoiceField
                label="Runner pool"
                source={poolNames}
                value={poolId}
                onChange={setPoolId}
                none="Select a pool"
                nothing="There is no pool yet: create one first, under Self-hosted runners."
                error={errors.get('pool_id')}
              />
            )}
            <RouteWarning poolId={target === 'self_hosted' ? poolId : ''} />
            <TextField
              label="Default image"
              value={image}
              onChange={setImage}
              placeholder="docker.io/certyn/agent:v0.1.0"
              hint="For runs that name none; empty for the control plane’s own default."
              error={errors.get('default_image')}
            />
          </>
        )}
      </Form>
    </Dialog>
  )
}

/** Before it is saved: runs would only wait. */
function RouteWarning({ poolId }: { readonly poolId: string }) {
  const pool = useQuery({ ...poolQuery(poolId), enabled: poolId !== '' }).data
  const what =
    pool === undefined
      ? null
      : pool.stats.runners_online === 0
        ? `No runner of ${pool.name} is online: runs will wait until one is.`
        : pool.state === 'draining'
          ? `${pool.name} is draining: runs will wait until it is resumed.`
          : null
  return (
    <p role="status" className={what === null ? '' : 'caution'}>
      {what}
    </p>
  )
}
