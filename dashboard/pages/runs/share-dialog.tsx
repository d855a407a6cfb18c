import { useState } from 'react'
import type { WatchMode } from '../../../protocol/stream.ts'
import { createLiveLink } from '../../api/runs.ts'
import { Button } from '../../kit/button.tsx'
import { CopyButton } from '../../kit/copy-button.tsx'
import { Dialog } from '../../kit/dialog.tsx'
import { SelectField, TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'

const LIFETIMES = [
  { value: '3600', label: '1 hour' },
  { value: '86400', label: '1 day' },
  { value: '604800', label: '7 days' },
] as const

const MODES: readonly { value: WatchMode; label: string }[] = [
  { value: 'view', label: 'Watch only' },
  { value: 'control', label: 'Watch and control' },
]

interface ShareDialogProps {
  readonly runId: string
  readonly onClose: () => void
}

/** A link for somebody who has no account here. */
export function ShareDialog({ runId, onClose }: ShareDialogProps) {
  const [mode, setMode] = useState<WatchMode>('view')
  const [lifetime, setLifetime] = useState<(typeof LIFETIMES)[number]['value']>('3600')
  const [viewers, setViewers] = useState('5')
  const create = useAction(
    () =>
      createLiveLink(runId, {
        mode,
        expires_in_seconds: Number(lifetime),
        max_viewers: Number(viewers),
      }),
    () => 'Created a live link',
    [['live-links']],
    'form',
  )
  return (
    <Dialog title="Share a live link" onClose={onClose}>
      {create.data === undefined ? (
        <Form
          action="Create link"
          mutation={create}
          onSubmit={() => create.mutate(undefined)}
          onCancel={onClose}
        >
          {errors => (
            <>
              <p>Whoever has the link can watch this run until it expires or is revoked.</p>
              <SelectField label="It lets one" value={mode} onChange={setMode} options={MODES} />
              <SelectField label="Good for" value={lifetime} onChange={setLifetime} options={LIFETIMES} />
              <TextField
                label="Viewers at once"
                type="number"
                value={viewers}
                onChange={setViewers}
                error={errors.get('max_viewers')}
              />
            </>
          )}
        </Form>
      ) : (
        <div className="stack">
          <p>
            <strong>This is the only time the link is shown.</strong>
          </p>
          <pre className="secret">{create.data.url}</pre>
          <footer className="actions">
            <CopyButton text={create.data.url} what="the link" />
            <Button look="primary" onClick={onClose}>
              Done
            </Button>
          </footer>
        </div>
      )}
    </Dialog>
  )
}
