import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { Link } from 'wouter'
import type { LiveLink } from '../../../protocol/live.ts'
import { isTerminal } from '../../../protocol/run.ts'
import { liveLinksQuery, revokeLiveLink } from '../../api/administration.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Badge } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { Confirm } from '../../kit/confirm.tsx'
import { shortId } from '../../kit/ids.ts'
import { List } from '../../kit/list.tsx'
import { Page } from '../../kit/page.tsx'
import { Table } from '../../kit/table.tsx'
import { Ago, useNow } from '../../kit/time.tsx'
import { useAction } from '../../kit/use-action.ts'

/** Who can watch without an account. */
export default function LiveLinksPage() {
  const links = useInfiniteQuery(liveLinksQuery)
  return (
    <Page title="Live links">
      <List
        query={links}
        empty={<p>There is no live link. Make one on the page of a running run, to share its live view.</p>}
      >
        {items => (
          <Table label="Live links" head={['Link', 'Run', 'Lets one', 'Viewers', 'State', 'Last use', '']}>
            {items.map(link => (
              <LinkRow key={link.id} link={link} />
            ))}
          </Table>
        )}
      </List>
    </Page>
  )
}

function LinkRow({ link }: { readonly link: LiveLink }) {
  const { id, hint, run_id, mode, max_viewers, last_used_at } = link
  const ended = useEnd(link)
  const mayRevoke = useMay('member')
  const [isRevoking, setRevoking] = useState(false)
  const revoke = useAction(
    () => revokeLiveLink(id),
    () => `Revoked ${hint}`,
    [['live-links']],
    'form',
  )
  return (
    <tr>
      <th scope="row">
        <code>{hint}</code>
      </th>
      <td>
        <Link href={`/runs/${run_id}`}>{shortId(run_id)}</Link>
      </td>
      <td>{mode === 'control' ? 'watch and control' : 'watch'}</td>
      <td>{max_viewers} at once</td>
      <td>
        <LinkState link={link} />
      </td>
      <td>
        <Ago at={last_used_at} />
      </td>
      <td>
        {mayRevoke && ended === null && (
          <Button look="danger" onClick={() => setRevoking(true)} aria-label={`Revoke ${hint}`}>
            Revoke
          </Button>
        )}
        {isRevoking && (
          <Confirm
            title={`Revoke the live link ${hint}`}
            name={hint}
            action="Revoke link"
            onConfirm={() => revoke.mutateAsync()}
            onClose={() => setRevoking(false)}
          >
            Whoever watches with it is cut off at once.
          </Confirm>
        )}
      </td>
    </tr>
  )
}

function LinkState({ link }: { readonly link: LiveLink }) {
  const ended = useEnd(link)
  if (ended !== null) return <Badge tone="calm">{ended}</Badge>
  return (
    <>
      <Badge tone="good">good</Badge> expires <Ago at={link.expires_at} />
    </>
  )
}

/** @returns why it opens nothing any more; null while it does */
function useEnd({ revoked_at, expires_at, run_status }: LiveLink): string | null {
  const now = useNow()
  if (revoked_at !== null) return 'revoked'
  if (Date.parse(expires_at) <= now) return 'expired'
  return run_status !== null && isTerminal(run_status) ? 'run ended' : null
}
