import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import type * as z from 'zod'
import type { CreatedRegistrationToken, Runner } from '../../../protocol/admin-api.ts'
import { createToken, runnersQuery } from '../../api/pools.ts'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { CopyButton } from '../../kit/copy-button.tsx'
import { Dialog } from '../../kit/dialog.tsx'
import { SelectField, TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { useAction } from '../../kit/use-action.ts'

type Created = z.output<typeof CreatedRegistrationToken>

const LIFETIMES = [
  { value: '3600', label: '1 hour' },
  { value: '86400', label: '1 day' },
  { value: '604800', label: '7 days' },
  { value: '2592000', label: '30 days' },
] as const

interface CreateTokenDialogProps {
  readonly poolId: string
  readonly onClose: () => void
}

/** First the form, then the secret, once, with the command it belongs into. */
export function CreateTokenDialog({ poolId, onClose }: CreateTokenDialogProps) {
  const [created, setCreated] = useState<Created | null>(null)
  return created === null ? (
    <TokenForm poolId={poolId} onCreated={setCreated} onClose={onClose} />
  ) : (
    <TokenShown token={created} onClose={onClose} />
  )
}

function TokenForm({
  poolId,
  onCreated,
  onClose,
}: CreateTokenDialogProps & { readonly onCreated: (token: Created) => void }) {
  const [name, setName] = useState('')
  const [lifetime, setLifetime] = useState<(typeof LIFETIMES)[number]['value']>('3600')
  const [uses, setUses] = useState('')
  const create = useAction(
    () =>
      createToken(poolId, {
        ...(name !== '' && { name }),
        expires_in_seconds: Number(lifetime),
        max_uses: uses === '' ? null : Number(uses),
      }),
    () => 'Created a registration token',
    [['pools', poolId, 'tokens']],
    'form',
  )
  return (
    <Dialog title="Create a registration token" onClose={onClose}>
      <Form
        action="Create token"
        mutation={create}
        onSubmit={() => create.mutate(undefined, { onSuccess: onCreated })}
        onCancel={onClose}
      >
        {errors => (
          <>
            <TextField
              label="Name"
              value={name}
              onChange={setName}
              autoFocus
              placeholder="east rack"
              hint="To tell it apart later."
              error={errors.get('name')}
            />
            <SelectField
              label="Good for"
              value={lifetime}
              onChange={setLifetime}
              options={LIFETIMES}
              error={errors.get('expires_in_seconds')}
            />
            <TextField
              label="Runners that may join with it"
              type="number"
              value={uses}
              onChange={setUses}
              placeholder="any number"
              error={errors.get('max_uses')}
            />
          </>
        )}
      </Form>
    </Dialog>
  )
}

function TokenShown({ token, onClose }: { readonly token: Created; readonly onClose: () => void }) {
  return (
    <Dialog title="Start a runner with this token" onClose={onClose} isRequired>
      <div className="stack">
        <p>
          <strong>This is the only time the token is shown.</strong> Copy it, or the whole command, now.
        </p>
        <div className="stack">
          <div className="actions">
            <strong>Registration token</strong>
            <CopyButton text={token.secret} what="the token" />
          </div>
          <pre className="secret">{token.secret}</pre>
        </div>
        <div className="stack">
          <div className="actions">
            <strong>Command for the Docker host</strong>
            <CopyButton text={token.docker_run} what="the command" />
          </div>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it */}
          <pre tabIndex={0}>{token.docker_run}</pre>
        </div>
        <FirstHeartbeat poolId={token.pool_id} />
        <footer className="actions">
          <Button look="primary" onClick={onClose}>
            Done, it is stored safely
          </Button>
        </footer>
      </div>
    </Dialog>
  )
}

const WATCH_MS = 1_500

/** Watches for the runner that is being started just now: one that was not there, or joined at another time, before. */
function FirstHeartbeat({ poolId }: { readonly poolId: string }) {
  const { data } = useInfiniteQuery({ ...runnersQuery(poolId), refetchInterval: WATCH_MS })
  const runners = data?.pages.flatMap(({ items }) => items)
  const [known, setKnown] = useState<ReadonlySet<string> | null>(null)
  if (known === null && runners !== undefined) setKnown(new Set(runners.map(joining)))
  const joined = runners?.find(
    runner => runner.status === 'online' && known !== null && !known.has(joining(runner)),
  )
  return (
    <p role="status">
      {joined === undefined ? (
        <>
          <Badge tone="busy">waiting</Badge> Waiting for the first heartbeat&nbsp;…
        </>
      ) : (
        <>
          <Badge tone="good">online</Badge> {joined.name} is online.
        </>
      )}
    </p>
  )
}

/** A runner that registers again keeps its id. Only the server's clock is in it, and only to be told apart. */
function joining({ id, registered_at }: Runner): string {
  return `${id} ${registered_at}`
}
