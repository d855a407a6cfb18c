import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { type ApiKey, ROLES, type Role } from '../../../protocol/admin-api.ts'
import { apiKeysQuery, createApiKey, revokeApiKey } from '../../api/administration.ts'
import { useSession } from '../../app/session-gate.tsx'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { CopyButton } from '../../kit/copy-button.tsx'
import { Dialog } from '../../kit/dialog.tsx'
import { SelectField, TextField } from '../../kit/field.tsx'
import { Form } from '../../kit/form.tsx'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago, useNow } from '../../kit/time.tsx'
import { useAction } from '../../kit/use-action.ts'

/** Who may call for this tenant. */
export default function ApiKeysPage() {
  const keys = useInfiniteQuery(apiKeysQuery)
  const [isCreating, setCreating] = useState(false)
  return (
    <Page
      title="API keys"
      actions={
        <Button look="primary" onClick={() => setCreating(true)}>
          Create key
        </Button>
      }
    >
      <List query={keys} empty={<p>There is no key.</p>}>
        {items => (
          <Table label="API keys" head={['Name', 'Role', 'State', 'Created', 'Last use', '']}>
            {items.map(key => (
              <KeyRow key={key.id} apiKey={key} />
            ))}
          </Table>
        )}
      </List>
      {isCreating && <CreateKeyDialog onClose={() => setCreating(false)} />}
    </Page>
  )
}

function KeyRow({ apiKey }: { readonly apiKey: ApiKey }) {
  const { id, name, hint, role, created_at, last_used_at, revoked_at } = apiKey
  const isOwn = useSession().key.id === id
  const [isRevoking, setRevoking] = useState(false)
  const revoke = useAction(
    () => revokeApiKey(id),
    () => `Revoked ${name}`,
    [['api-keys']],
    'form',
  )
  return (
    <tr>
      <th scope="row">
        {name} {isOwn && <span className="soft">(you)</span>}
        <br />
        <code>{hint}</code>
      </th>
      <td>{role}</td>
      <td>
        <KeyState apiKey={apiKey} />
      </td>
      <td>
        <Ago at={created_at} />
      </td>
      <td>
        <Ago at={last_used_at} />
      </td>
      <td>
        {revoked_at === null && (
          <Button look="danger" onClick={() => setRevoking(true)} aria-label={`Revoke ${name}`}>
            Revoke
          </Button>
        )}
        {isRevoking && (
          <Confirm
            title="Revoke the key"
            name={name}
            action="Revoke key"
            onConfirm={() => revoke.mutateAsync()}
            onClose={() => setRevoking(false)}
          >
            Whoever calls with it is refused at once, and whoever is signed in or watches with it is cut off.
            {isOwn && ' That is you.'}
          </Confirm>
        )}
      </td>
    </tr>
  )
}

function KeyState({ apiKey: { revoked_at, expires_at } }: { readonly apiKey: ApiKey }) {
  const now = useNow()
  if (revoked_at !== null) return <Badge tone="calm">revoked</Badge>
  if (expires_at === null) return <Badge tone="good">good</Badge>
  if (Date.parse(expires_at) <= now) return <Badge tone="calm">expired</Badge>
  return (
    <>
      <Badge tone="good">good</Badge> expires <Ago at={expires_at} />
    </>
  )
}

const LIFETIMES = [
  { value: '', label: 'no end' },
  { value: '2592000', label: '30 days' },
  { value: '31536000', label: '1 year' },
] as const

const ROLE_WORDS: Readonly<Record<Role, string>> = {
  viewer: 'viewer: reads and watches',
  member: 'member: starts, cancels and controls runs as well',
  admin: 'admin: everything',
}

function CreateKeyDialog({ onClose }: { readonly onClose: () => void }) {
  const [name, setName] = useState('')
  const [role, setRole] = useState<Role>('member')
  const [lifetime, setLifetime] = useState<(typeof LIFETIMES)[number]['value']>('')
  const create = useAction(
    () => createApiKey({ name, role, ...(lifetime !== '' && { expires_in_seconds: Number(lifetime) }) }),
    () => `Created the key ${name}`,
    [['api-keys']],
    'form',
  )
  if (create.data !== undefined) {
    return (
      <Dialog title={`The key ${create.data.name}`} onClose={onClose} isRequired>
        <div className="stack">
          <p>
            <strong>This is the only time the key is shown.</strong>
          </p>
          <pre className="secret">{create.data.secret}</pre>
          <footer className="actions">
            <CopyButton text={create.data.secret} what="the key" />
            <Button look="primary" onClick={onClose}>
              Done, it is stored safely
            </Button>
          </footer>
        </div>
      </Dialog>
    )
  }
  return (
    <Dialog title="Create an API key" onClose={onClose}>
      <Form
        action="Create key"
        mutation={create}
        onSubmit={() => create.mutate(undefined)}
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
              placeholder="ci"
              error={errors.get('name')}
            />
            <SelectField
              label="Role"
              value={role}
              onChange={setRole}
              options={ROLES.map(value => ({ value, label: ROLE_WORDS[value] }))}
            />
            <SelectField label="Good for" value={lifetime} onChange={setLifetime} options={LIFETIMES} />
          </>
        )}
      </Form>
    </Dialog>
  )
}
