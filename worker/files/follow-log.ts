import type { LogShape, SessionFilesRpc } from '../../durable-objects/session-files/rpc.ts'
import { SessionId } from '../../protocol/ids.ts'
import type { Run } from '../../protocol/run.ts'
import { linesOf } from './log-events.ts'
import { readLog } from './read-log.ts'

/** Proxies close what is silent for a minute. */
const KEEP_ALIVE_MS = 15_000
/** The run is looked at this often, and whatever waits for another session. */
const LOOK_MS = 2_000

/** The run as it is now, and the session whose log is shown for it. */
export interface Look {
  readonly run: Run
  readonly sessionId: string | null
  /** No other session will be shown, and this one does not run any more. */
  readonly isOver: boolean
}

export interface FollowedRun {
  readonly runId: string
  readonly blobs: R2Bucket
  files(sessionId: string): SessionFilesRpc
  /** Null once it is gone, or the caller may not see it any more. */
  look(): Promise<Look | null>
  /** For how long after its end a session's log may still grow. */
  readonly uploadWindowMs: number
}

interface Place {
  readonly sessionId: string
  readonly offset: number
}

/**
 * The log as server-sent events, from where it stands until the run has ended and its log is complete. When the run is
 * tried again, what the earlier attempt has left comes first, then a `session` event, then the new attempt's log.
 *
 * Events hold whole lines; one that is longer is cut between characters. An event's id says where the next one begins,
 * so that a reader that comes back with `Last-Event-ID` misses nothing and sees nothing twice.
 */
export async function* followLog(
  followed: FollowedRun,
  first: Look,
  lastEventId: string | null,
): AsyncGenerator<Uint8Array> {
  let now = first
  let lookedAt = Date.now()
  let place = placeOf(lastEventId)
  for (;;) {
    if (place !== null && now.sessionId !== null && place.sessionId !== now.sessionId) {
      const rest = await followed.files(place.sessionId).logShape(followed.runId)
      yield* pieces(followed, rest, place, true)
      place = null
    }
    if (place === null && now.sessionId !== null) {
      place = { sessionId: now.sessionId, offset: 0 }
      yield event('session', place, { session_id: place.sessionId, attempt: attemptOf(now) })
    }
    const isLate = now.isOver && !mayGrow(now, followed.uploadWindowMs)
    const shape = await wait(followed, place, isLate)
    const before = place?.offset
    if (place !== null) place = yield* pieces(followed, shape, place, isLate || shape?.complete === true)
    const isDone = place === null || (shape?.complete === true && place.offset >= shape.length)
    if (now.isOver && (isDone || isLate)) {
      yield event('end', place, { status: now.run.status })
      return
    }
    if (isDone) await new Promise(resolve => setTimeout(resolve, LOOK_MS))
    if (place?.offset === before) yield encoder.encode(': still here\n\n')
    if (Date.now() < lookedAt + LOOK_MS) continue
    const next = await followed.look()
    if (next === null) return
    now = next
    lookedAt = Date.now()
  }
}

/** Until there is more of the log than was given, or nothing was to be had for a while. */
async function wait(followed: FollowedRun, place: Place | null, isLate: boolean): Promise<LogShape | null> {
  if (place === null) return null
  const files = followed.files(place.sessionId)
  // An end is looked for as well.
  const waitMs = isLate ? 0 : KEEP_ALIVE_MS
  return await files.waitForLog(followed.runId, place.offset, waitMs)
}

/** Everything there is behind the place. @param isAll also the rest of a line @returns the place behind it */
async function* pieces(
  { runId, blobs, files }: FollowedRun,
  shape: LogShape | null,
  from: Place,
  isAll: boolean,
): AsyncGenerator<Uint8Array, Place> {
  let place = from
  if (shape === null || shape.length <= from.offset) return place
  const source = { files: files(from.sessionId), blobs, runId }
  const bytes = readLog(source, shape, from.offset, shape.length)
  for await (const { at, text, end } of linesOf(bytes, from.offset, isAll)) {
    place = { ...place, offset: end }
    yield event('log', place, { offset: at, text })
  }
  return place
}

function attemptOf({ run, sessionId }: Look): number | null {
  return run.session_id === sessionId ? run.attempt : null
}

/** Of a session that is over: only what ended by its runner's own report is still brought, for a while. */
function mayGrow({ run, sessionId }: Look, windowMs: number): boolean {
  if (run.session_id !== sessionId || run.status === 'lost' || run.finished_at === null) return false
  return Date.now() <= Date.parse(run.finished_at) + windowMs
}

const encoder = new TextEncoder()

function event(type: string, place: Place | null, data: object): Uint8Array {
  const id = place === null ? '' : `id: ${place.sessionId}.${place.offset}\n`
  return encoder.encode(`event: ${type}\n${id}data: ${JSON.stringify(data)}\n\n`)
}

function placeOf(id: string | null): Place | null {
  const [, sessionId, offset] = /^(\w+)\.(\d{1,15})$/.exec(id ?? '') ?? []
  if (sessionId === undefined || !SessionId.safeParse(sessionId).success) return null
  return { sessionId, offset: Number(offset) }
}
