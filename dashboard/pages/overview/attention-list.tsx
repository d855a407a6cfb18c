import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { Attention } from '../../../protocol/overview.ts'
import { Badge, type Tone } from '../../kit/badge.tsx'
import { Ago } from '../../kit/time.tsx'

/** What somebody should look at, each line leading to the place. */
export function AttentionList({ items }: { readonly items: readonly Attention[] }) {
  return (
    <section className="stack" aria-labelledby="attention">
      <h2 id="attention">Needs attention</h2>
      {items.length === 0 ? (
        <p className="empty">Nothing: every pool with queued runs has a runner online.</p>
      ) : (
        <ul className="attention">
          {items.map(item => {
            const { word, tone, href, text } = lineOf(item)
            return (
              <li key={JSON.stringify(item)}>
                <Badge tone={tone}>{word}</Badge>
                <Link href={href}>{text}</Link>
              </li>
            )
          })}
        </ul>
      )}
    </section>
  )
}

interface Line {
  readonly word: string
  readonly tone: Tone
  readonly href: string
  readonly text: ReactNode
}

function lineOf(item: Attention): Line {
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
        text: `${item.count} run(s) were lost with their runner`,
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
