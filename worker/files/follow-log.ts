import type { LogShape, SessionFilesRpc } from '../../durable-objects/session-files/rpc.ts'
import type { LogEventData, LogEventType } from '../../protocol/followed-log.ts'
import { SessionId } from '../../protocol/ids.ts'
import type { Run } from '../../protocol/run.ts'
import { CountedCalls } from './counted-calls.ts'
import { linesOf, type OpenLine } from './log-events.ts'
import { readLog, type Segments } from './read-log.ts'

/** Proxies close what is silent for a minute. */
const KEEP_ALIVE_MS = 15_000
/** The run is looked at this often, and whatever waits for another session. */
const LOOK_MS = 2_000
/** A line that has no end for so long is shown as it stands: a prompt never has one. */
const OPEN_LINE_MS = 500

/**
 * One request may call other services so often: 1,000 times where the platform allows least
 * (https://developers.cloudflare.com/workers/platform/limits/#subrequests), less what reading all of a log at once takes.
 * At the pace of the looks and of a log that grows every second that is minutes.
 */
const CALLS_LIMIT = 600
/** The reader is to come again after so long. */
const RETURN_MS = 500

/** The run as it is now, and the session whose log is shown for it. */
export interface Look {
  readonly run: Run
  readonly sessionId: string | null
  /** No other session will be shown, and this one does not run any more. */
  readonly isOver: boolean
}

export interface FollowedRun {
  readonly runId: string
  readonly blobs: Segments
  files(sessionId: string): Pick<SessionFilesRpc, 'logShape' | 'readTail' | 'waitForLog'>
  /** Null once it is gone, or the caller may not see it any more. */
  look(): Promise<Look | null>
  /** For how long after its end a session's log may still grow. */
  readonly uploadWindowMs: number
}

interface Place {
  readonly sessionId: string
  /** Up to where the log was given. */
  readonly offset: number
}

interface Reading extends Place {
  /** The length of the log when it was last asked; beyond the offset while its last line has no end. */
  readonly seen: number
  /** Since when there is a line without an end that is not shown; epoch milliseconds. */
  readonly openSince: number | null
}

/**
 * The log as server-sent events, from where it stands until the run has ended and its log is complete. When the run is
 * tried again, what the earlier attempt has left comes first, then a `session` event, then the new attempt's log.
 *
 * Events hold whole lines; one that is longer is cut between characters, and one that rests without an end is given as
 * far as it has come, its rest in a later event. So the texts of a session in a row are its log, and an event's id says
 * where the next one begins: a reader that comes back with `Last-Event-ID` misses nothing and sees nothing twice.
 * Without an `end` event it is to come back.
 */
export async function* followLog(
  run: FollowedRun,
  first: Look,
  lastEventId: string | null,
): AsyncGenerator<Uint8Array> {
  const counted = new CountedCalls(run)
  const followed = counted.run
  let now = first
  let lookedAt = Date.now()
  let spokenAt = lookedAt
  let reading = readingFrom(placeOf(lastEventId))
  for (;;) {
    const before = reading
    if (reading !== null && now.sessionId !== null && reading.sessionId !== now.sessionId) {
      const rest = await followed.files(reading.sessionId).logShape(followed.runId)
      yield* pieces(followed, rest, reading, 'last')
      reading = null
    }
    if (reading === null && now.sessionId !== null) {
      reading = readingFrom({ sessionId: now.sessionId, offset: 0 })
      yield event('session', reading, { session_id: now.sessionId, attempt: attemptOf(now) })
    }
    const isLate = now.isOver && !mayGrow(now, followed.uploadWindowMs)
    const shape = reading === null ? null : await wait(followed, reading, isLate)
    if (reading !== null) reading = yield* readOn(followed, shape, reading, isLate)
    const isDone = reading === null || (shape?.complete === true && reading.offset >= shape.length)
    if (now.isOver && (isDone || isLate)) {
      yield event('end', reading, { status: now.run.status })
      return
    }
    if (isDone) await new Promise(resolve => setTimeout(resolve, LOOK_MS))
    if (reading?.offset !== before?.offset) spokenAt = Date.now()
    if (Date.now() >= spokenAt + KEEP_ALIVE_MS) {
      yield encoder.encode(': still here\n\n')
      spokenAt = Date.now()
    }
    if (counted.calls >= CALLS_LIMIT) {
      yield encoder.encode(`retry: ${RETURN_MS}\n\n`)
      return
    }
    if (Date.now() < lookedAt + LOOK_MS) continue
    const next = await followed.look()
    if (next === null) return
    now = next
    lookedAt = Date.now()
  }
}

/** Until there is more of the log than was seen, or nothing was to be had for a while. */
async function wait(
  followed: FollowedRun,
  { sessionId, seen, openSince }: Reading,
  isLate: boolean,
): Promise<LogShape | null> {
  const shownAt = openSince === null ? KEEP_ALIVE_MS : openSince + OPEN_LINE_MS - Date.now()
  // An end is looked for as well.
  const waitMs = isLate ? 0 : Math.max(0, shownAt)
  return await followed.files(sessionId).waitForLog(followed.runId, seen, waitMs)
}

/** Gives what there is, of a line without an end once it has rested. @returns how far it has come */
async function* readOn(
  followed: FollowedRun,
  shape: LogShape | null,
  before: Reading,
  isLate: boolean,
): AsyncGenerator<Uint8Array, Reading> {
  const hasRested = before.openSince !== null && Date.now() >= before.openSince + OPEN_LINE_MS
  const openLine = isLate || shape?.complete === true ? 'last' : hasRested ? 'shown' : 'held'
  const { offset } = yield* pieces(followed, shape, before, openLine)
  const seen = Math.max(before.seen, shape?.length ?? 0)
  // What is behind the place although it has rested is a part of a character.
  const isOpen = offset < seen && !(hasRested && seen === before.seen)
  const isSameLine = offset === before.offset && before.openSince !== null
  return { ...before, offset, seen, openSince: isOpen ? (isSameLine ? before.openSince : Date.now()) : null }
}

/** Everything there is behind the place. @returns the place behind it */
async function* pieces(
  { runId, blobs, files }: FollowedRun,
  shape: LogShape | null,
  from: Place,
  openLine: OpenLine,
): AsyncGenerator<Uint8Array, Place> {
  let place = from
  if (shape === null || shape.length <= from.offset) return place
  const source = { files: files(from.sessionId), blobs, runId }
  const bytes = readLog(source, shape, from.offset, shape.length)
  for await (const { at, text, end } of linesOf(bytes, from.offset, openLine)) {
    place = { sessionId: from.sessionId, offset: end }
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

function event<Type extends LogEventType>(
  type: Type,
  place: Place | null,
  data: LogEventData<Type>,
): Uint8Array {
  const id = place === null ? '' : `id: ${place.sessionId}.${place.offset}\n`
  return encoder.encode(`event: ${type}\n${id}data: ${JSON.stringify(data)}\n\n`)
}

function readingFrom(place: Place | null): Reading | null {
  return place === null ? null : { ...place, seen: place.offset, openSince: null }
}

function placeOf(id: string | null): Place | null {
  const [, sessionId, offset] = /^(\w+)\.(\d{1,15})$/.exec(id ?? '') ?? []
  if (sessionId === undefined || !SessionId.safeParse(sessionId).success) return null
  return { sessionId, offset: Number(offset) }
}
