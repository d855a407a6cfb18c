import type { ControlPlane } from '../api/control-plane.ts'
import { systemClock } from '../clock.ts'
import type { Output } from '../output/output.ts'
import { followLog } from './follow-log.ts'
import { PlainLog } from './plain-log.ts'

export interface LogWish {
  readonly runId: string
  /** One attempt rather than the last. */
  readonly sessionId?: string | undefined
  /** With the time and the stream in front of each line. */
  readonly timestamps: boolean
}

function pathOf({ runId }: LogWish): string {
  return `/runs/${runId}/logs`
}

/** What there is now, byte by byte as it was written. */
export async function showLog(api: ControlPlane, out: Output, wish: LogWish): Promise<void> {
  const { body } = await api.open(pathOf(wish), { query: { session_id: wish.sessionId } })
  const plain = new PlainLog()
  for await (const bytes of body) {
    await out.raw(
      wish.timestamps ? bytes : Buffer.from(plain.push(Buffer.from(bytes).toString('latin1')), 'latin1'),
    )
  }
  await out.raw(Buffer.from(plain.end(), 'latin1'))
}

/** While it grows, until the run's end. With `--json` one event a line. */
export async function showLogAsItGrows(
  api: ControlPlane,
  out: Output,
  wish: LogWish,
  stop: AbortSignal,
): Promise<void> {
  let plain = new PlainLog()
  const events = followLog({
    open: async lastEventId => {
      const headers = lastEventId === null ? {} : { 'last-event-id': lastEventId }
      const query = { follow: '1', session_id: wish.sessionId }
      return (await api.open(pathOf(wish), { query, headers, signal: stop })).body
    },
    stop,
    clock: systemClock,
  })
  for await (const event of events) {
    if (out.isJson) out.item(event, () => '')
    else if (event.type === 'log') await out.raw(wish.timestamps ? event.text : plain.push(event.text))
    else {
      await out.raw(plain.end())
      plain = new PlainLog()
      if (event.type === 'session' && (event.attempt ?? 1) > 1) out.note(`attempt ${event.attempt}:`)
    }
  }
  await out.raw(plain.end())
}
