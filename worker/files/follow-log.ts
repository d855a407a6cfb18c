import type { SessionFilesRpc } from '../../durable-objects/session-files/rpc.ts'
import { SessionId } from '../../protocol/ids.ts'
import { isTerminal, type Run } from '../../protocol/run.ts'
import { readLog } from './read-log.ts'

/** Proxies close what is silent for a minute. */
const KEEP_ALIVE_MS = 15_000
/** A run that has no session yet is looked at this often. */
const LOOK_AGAIN_MS = 2_000
/** One event at most holds so much, and so much of a line without an end is waited for. */
const EVENT_BYTES = 64 * 1024

export interface FollowedRun {
  readonly blobs: R2Bucket
  files(sessionId: string): SessionFilesRpc
  /** As it is now; null once it is gone. */
  read(): Promise<Run | null>
  /** For how long after its end a session's log may still grow. */
  readonly uploadWindowMs: number
}

interface Place {
  readonly sessionId: string
  readonly offset: number
}

/**
 * The log as server-sent events, from where it stands until the run has ended and its log is complete.
 *
 * Events hold whole lines; one that is longer is cut between characters. An event's id says where the next one begins,
 * so that a reader that comes back with `Last-Event-ID` misses nothing and sees nothing twice.
 */
export async function* followLog(
  followed: FollowedRun,
  run: Run,
  lastEventId: string | null,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  const resumed = placeOf(lastEventId)
  let now = run
  let place = resumed?.sessionId === run.session_id ? resumed : null
  for (;;) {
    if (now.session_id !== null && place?.sessionId !== now.session_id) {
      place = { sessionId: now.session_id, offset: 0 }
      yield encoder.encode(
        event('session', idOf(place), { session_id: place.sessionId, attempt: now.attempt }),
      )
    }
    let isDone = place === null
    if (place !== null) {
      const files = followed.files(place.sessionId)
      const shape = await files.waitForLog(now.id, place.offset, KEEP_ALIVE_MS)
      if (shape !== null && shape.length > place.offset) {
        const source = { files, blobs: followed.blobs, runId: now.id }
        for await (const [at, text, end] of lines(
          readLog(source, shape, place.offset, shape.length),
          place.offset,
          shape.complete,
        )) {
          place = { ...place, offset: end }
          yield encoder.encode(event('log', idOf(place), { offset: at, text }))
        }
      }
      isDone = shape?.complete === true && place.offset === shape.length
    } else {
      await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN_MS))
    }
    const next = await followed.read()
    if (next === null) return
    now = next
    if (
      isTerminal(now.status) &&
      now.session_id === (place?.sessionId ?? null) &&
      (isDone || isLate(now, followed))
    ) {
      yield encoder.encode(event('end', place === null ? '' : idOf(place), { status: now.status }))
      return
    }
    if (isDone && place !== null && now.session_id === place.sessionId) {
      await new Promise(resolve => setTimeout(resolve, LOOK_AGAIN_MS))
    }
    yield encoder.encode(': still here\n\n')
  }
}

function isLate(run: Run, { uploadWindowMs }: FollowedRun): boolean {
  return run.finished_at !== null && Date.now() > Date.parse(run.finished_at) + uploadWindowMs
}

/** Cuts bytes into texts of whole lines. @param all whether nothing follows: then the rest is given too */
async function* lines(
  pieces: AsyncGenerator<Uint8Array>,
  start: number,
  all: boolean,
): AsyncGenerator<readonly [at: number, text: string, end: number]> {
  let held = new Uint8Array()
  let at = start
  for await (const piece of pieces) {
    held = joined(held, piece)
    for (let cut = cutOf(held); cut > 0; cut = cutOf(held)) {
      yield [at, textOf(held.subarray(0, cut)), at + cut]
      at += cut
      held = held.slice(cut)
    }
  }
  if (all && held.length > 0) yield [at, textOf(held), at + held.length]
}

/** @returns how much of it makes an event now; 0: more has to come */
function cutOf(held: Uint8Array): number {
  const limited = held.subarray(0, EVENT_BYTES)
  const newline = limited.lastIndexOf(0x0a)
  if (newline !== -1) return newline + 1
  if (held.length < EVENT_BYTES) return 0
  // Not in the middle of a character: back over the bytes that only continue one.
  let cut = EVENT_BYTES
  while (cut > EVENT_BYTES - 4 && ((held[cut] ?? 0) & 0xc0) === 0x80) cut -= 1
  return cut
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}

function event(type: string, id: string, data: object): string {
  return `event: ${type}\n${id === '' ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}

function idOf({ sessionId, offset }: Place): string {
  return `${sessionId}.${offset}`
}

function placeOf(id: string | null): Place | null {
  const [, sessionId, offset] = /^(\w+)\.(\d{1,15})$/.exec(id ?? '') ?? []
  if (sessionId === undefined || !SessionId.safeParse(sessionId).success) return null
  return { sessionId, offset: Number(offset) }
}
