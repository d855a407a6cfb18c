import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import type * as z from 'zod'
import type { RegistrationToken } from '../../../protocol/admin-api.ts'
import { revokeToken, tokensQuery } from '../../api/pools.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { List } from '../../kit/list.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago, useNow } from '../../kit/time.tsx'
import { useAction } from '../../kit/use-action.ts'
import { CreateTokenDialog } from './create-token-dialog.tsx'

type Token = z.output<typeof RegistrationToken>

/** Tokens are the admins' business: nobody else may read even the list. */
export function TokensTable({ poolId }: { readonly poolId: string }) {
  return useMay('admin') ? <Tokens poolId={poolId} /> : null
}

function Tokens({ poolId }: { readonly poolId: string }) {
  const tokens = useInfiniteQuery(tokensQuery(poolId))
  const [isCreating, setCreating] = useState(false)
  const create = (
    <Button look="primary" onClick={() => setCreating(true)}>
      Create token
    </Button>
  )
  return (
    <section className="stack" aria-labelledby="tokens">
      <div className="section-head">
        <h2 id="tokens">Registration tokens</h2>
        {create}
      </div>
      <List
        query={tokens}
        name="tokens"
        empty={
          <p>A runner joins the pool with a registration token. Each is shown once and can be revoked.</p>
        }
      >
        {items => (
          <Table
            label="Registration tokens of this pool"
            head={['Token', 'State', 'Uses', 'Last use', 'Online runners', '']}
          >
            {items.map(token => (
              <TokenRow key={token.id} poolId={poolId} token={token} />
            ))}
          </Table>
        )}
      </List>
      {isCreating && <CreateTokenDialog poolId={poolId} onClose={() => setCreating(false)} />}
    </section>
  )
}

function TokenRow({ poolId, token }: { readonly poolId: string; readonly token: Token }) {
  const [isRevoking, setRevoking] = useState(false)
  const name = token.name === '' ? token.hint : token.name
  const revoke = useAction(
    () => revokeToken(poolId, token.id),
    () => `Revoked ${name}`,
    [['pools', poolId, 'tokens']],
    'form',
  )
  return (
    <tr>
      <th scope="row">
        {token.name !== '' && (
          <>
            {token.name}
            <br />
          </>
        )}
        <code>{token.hint}</code>
      </th>
      <td>
        <TokenState token={token} />
      </td>
      <td>
        {token.uses} of {token.max_uses ?? 'any'}
      </td>
      <td>
        <Ago at={token.last_used_at} />
      </td>
      <td>{token.runners_online}</td>
      <td>
        {token.revoked_at === null && (
          <Button look="danger" onClick={() => setRevoking(true)} aria-label={`Revoke ${name}`}>
            Revoke
          </Button>
        )}
        {isRevoking && (
          <Confirm
            title={`Revoke the token ${name}`}
            name={name}
            action="Revoke token"
            onConfirm={() => revoke.mutateAsync()}
            onClose={() => setRevoking(false)}
          >
            No runner can join with it any more. Those that have joined go on: {token.runners_online} of them
            online now.
          </Confirm>
        )}
      </td>
    </tr>
  )
}

function TokenState({ token: { revoked_at, expires_at, uses, max_uses } }: { readonly token: Token }) {
  const now = useNow()
  if (revoked_at !== null) {
    return (
      <>
        <Badge tone="calm">revoked</Badge> <Ago at={revoked_at} />
      </>
    )
  }
  if (Date.parse(expires_at) <= now) {
    return (
      <>
        <Badge tone="calm">expired</Badge> <Ago at={expires_at} />
      </>
    )
  }
  if (max_uses !== null && uses >= max_uses) return <Badge tone="calm">used up</Badge>
  return (
    <>
      <Badge tone="good">good</Badge> expires <Ago at={expires_at} />
    </>
  )
}
