import { useInfiniteQuery } from '@tanstack/react-query'
import { runEventsQuery } from '../../api/runs.ts'
import { List } from '../../kit/list.tsx'

/** What happened to the run, oldest first. */
export function Timeline({ runId }: { readonly runId: string }) {
  const events = useInfiniteQuery(runEventsQuery(runId))
  return (
    <section className="stack" aria-labelledby="timeline">
      <h2 id="timeline">What happened</h2>
      <List query={events} name="events" empty={<p>Nothing yet.</p>}>
        {items => (
          <ol className="timeline">
            {items.map(({ at, type, detail }, i) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: events have no id and never change their place
              <li key={i}>
                <time dateTime={at}>{new Date(at).toLocaleTimeString()}</time>
                <span>
                  <strong>{type.replaceAll('_', ' ')}</strong> {detail}
                </span>
              </li>
            ))}
          </ol>
        )}
      </List>
    </section>
  )
}
