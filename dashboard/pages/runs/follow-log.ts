import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { LOG_EVENTS } from '../../../protocol/followed-log.ts'
import { parseJson } from '../../../protocol/json.ts'
import { refusalOf, send, Unreachable } from '../../api/client.ts'
import { type LogLines, NO_LINES, withText } from './log-lines.ts'

/** A burst of events is shown at once. */
const SHOW_EVERY_MS = 150
/** The control plane says something at least every 15 s, or the line is dead without either end having been told. */
const SILENCE_MS = 45_000
const PAUSE_MS = 500
const PAUSE_CAP_MS = 5_000

export interface FollowedLog extends LogLines {
  /** What is written at the moment does not come. */
  readonly isLost: boolean
  /** Nothing more is written. */
  readonly isOver: boolean
}

export const NOT_READ_YET: FollowedLog = { ...NO_LINES, isLost: false, isOver: false }

type Stream = ReadableStream<Uint8Array<ArrayBuffer>>

/**
 * The log as it grows, until it has come to its end. A connection that is lost or refused is opened again where the last
 * event ended, for as long as it takes; one that was closed without that end only says that one has to come again.
 * @returns a function that stops it
 */
export function followLog(runId: string, onLog: (log: FollowedLog) => void): () => void {
  const stop = new AbortController()
  let known = NOT_READ_YET
  let showing: ReturnType<typeof setTimeout> | undefined
  const change = (next: Partial<FollowedLog>) => {
    known = { ...known, ...next }
    showing ??= setTimeout(() => {
      showing = undefined
      onLog(known)
    }, SHOW_EVERY_MS)
  }
  stop.signal.addEventListener('abort', () => clearTimeout(showing))
  void follow(runId, stop.signal, {
    heard: ({ event, data }) => {
      // Another attempt begins with a log of its own.
      if (event === 'session') change(NO_LINES)
      if (event === 'end') change({ isOver: true })
      if (event === 'log') change(withText(known, textOf(data)))
    },
    connected: isConnected => change({ isLost: !isConnected }),
  })
  return () => stop.abort()
}

interface Listener {
  heard(message: EventSourceMessage): void
  connected(isConnected: boolean): void
}

async function follow(runId: string, stop: AbortSignal, { heard, connected }: Listener): Promise<void> {
  let lastEventId: string | null = null
  for (let failures = 0; !stop.aborted; failures += 1) {
    const left = new AbortController()
    try {
      const signal = AbortSignal.any([stop, left.signal])
      const answer: Stream = await inTime(open(runId, lastEventId, signal))
      connected(true)
      for await (const message of messagesOf(answer)) {
        failures = 0
        heard(message)
        if (message.event === 'end') return
        lastEventId = message.id ?? lastEventId
      }
    } catch {
      if (!stop.aborted) connected(false)
    } finally {
      left.abort()
    }
    await pause(Math.min(PAUSE_CAP_MS, PAUSE_MS * 2 ** failures) * (0.5 + Math.random() / 2), stop)
  }
}

/** @throws Refused or Unreachable, as `call` does */
async function open(runId: string, lastEventId: string | null, signal: AbortSignal): Promise<Stream> {
  const response = await send(`/runs/${runId}/logs?follow=1`, {
    signal,
    headers: lastEventId === null ? {} : { 'last-event-id': lastEventId },
  })
  if (!response.ok) throw await refusalOf(response)
  if (response.status !== 200 || response.body === null) {
    throw new Unreachable(`The control plane answered with ${response.status}.`)
  }
  return response.body
}

/** @throws Unreachable where the line went dead */
async function* messagesOf(body: Stream): AsyncGenerator<EventSourceMessage> {
  let whole: EventSourceMessage[] = []
  const parser = createParser({ onEvent: message => whole.push(message) })
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read())
      if (done) return
      parser.feed(value)
      yield* whole
      whole = []
    }
  } finally {
    void reader.cancel().catch(() => undefined)
  }
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Unreachable('The control plane is silent.')), SILENCE_MS)
  })
  return await Promise.race([answer, silence]).finally(() => clearTimeout(timer))
}

function textOf(data: string): string {
  const json = parseJson(data)
  return LOG_EVENTS.log.safeParse(json.ok ? json.value : undefined).data?.text ?? ''
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms)
    stop.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
