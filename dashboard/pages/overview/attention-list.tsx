import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { Attention, Overview } from '../../../protocol/overview.ts'
import { Badge, type Tone } from '../../kit/badge.tsx'
import { count } from '../../kit/count.ts'
import { shortId } from '../../kit/ids.ts'
import { Ago } from '../../kit/time.tsx'

/** What somebody should look at, each line leading to the place. */
export function AttentionList({ attention, unavailable }: Pick<Overview, 'attention' | 'unavailable'>) {
  const lines = [...unavailable.map(unavailableLine), ...attention.map(lineOf)]
  return (
    <section className="stack" aria-labelledby="attention">
      <h2 id="attention">Needs attention</h2>
      {lines.length === 0 ? (
        <p className="empty">Nothing: every pool with queued runs has a runner online.</p>
      ) : (
        <ul className="attention">
          {lines.map(({ key, word, tone, href, text }) => (
            <li key={key}>
              <Badge tone={tone}>{word}</Badge>
              <Link href={href}>{text}</Link>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

interface Line {
  readonly key: string
  readonly word: string
  readonly tone: Tone
  readonly href: string
  readonly text: ReactNode
}

/** Of such a pool there is only its id: what its object does not say is in none of the numbers either. */
function unavailableLine(poolId: string): Line {
  return {
    key: `unavailable ${poolId}`,
    word: 'no answer',
    tone: 'bad',
    href: `/environments/runners/${poolId}`,
    text: `The pool ${shortId(poolId)} does not answer at the moment and is not counted here`,
  }
}

function lineOf(item: Attention): Line {
  return { key: JSON.stringify(item), ...wordsOf(item) }
}

function wordsOf(item: Attention): Omit<Line, 'key'> {
  switch (item.kind) {
    case 'no_runner_online':
      return {
        word: 'no runner online',
        tone: 'bad',
        href: `/environments/runners/${item.pool_id}`,
        text: `${item.pool_name}: ${item.queued} queued and nobody to take them`,
      }
    case 'runs_lost':
      return {
        word: 'runs lost',
        tone: 'bad',
        href: '/runs?status=lost',
        text: `${count(item.count, 'run')} lost with a runner`,
      }
    case 'runner_offline':
      return {
        word: 'runner offline',
        tone: 'warn',
        href: `/environments/runners/${item.pool_id}`,
        text: (
          <>
            {item.runner_name} in {item.pool_name}, last heard of <Ago at={item.since} />
          </>
        ),
      }
    case 'token_expiring':
      return {
        word: 'token expires',
        tone: 'warn',
        href: `/environments/runners/${item.pool_id}`,
        text: (
          <>
            {item.token_name} of {item.pool_name} <Ago at={item.expires_at} />
          </>
        ),
      }
    case 'version_behind':
      return {
        word: 'version behind',
        tone: 'calm',
        href: `/environments/runners/${item.pool_id}`,
        text: `${item.runner_name} in ${item.pool_name} runs ${item.version}`,
      }
  }
}
