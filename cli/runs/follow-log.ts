import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { z } from 'zod'
import { LOG_EVENTS, type LogEventData } from '../../protocol/followed-log.ts'
import { parseJson } from '../../protocol/json.ts'
import { unreachable } from '../api/control-plane.ts'
import { backoffMs, isPassing } from '../api/retry.ts'
import { CommandFailure } from '../failure.ts'
import { type Clock, PATIENCE_MS } from './wait.ts'

/** What a log that is followed brings. */
export type LogEvent =
  | ({ readonly type: 'session' } & LogEventData<'session'>)
  | ({ readonly type: 'log' } & LogEventData<'log'>)
  | ({ readonly type: 'end' } & LogEventData<'end'>)

export interface FollowParts {
  /** @param lastEventId of the last event that was taken; null for the beginning */
  open(lastEventId: string | null): Promise<AsyncIterable<Uint8Array>>
  readonly stop: AbortSignal
  readonly clock: Clock
}

const CALL = 'GET …/logs?follow=1'

/**
 * The log's events in order, each once, until the run's end or until it is stopped. A lost connection is opened again
 * where the last whole event ended: its id says so.
 */
export async function* followLog({ open, stop, clock }: FollowParts): AsyncGenerator<LogEvent> {
  let lastEventId: string | null = null
  let aliveAt = clock.now()
  for (let failures = 0; !stop.aborted; ) {
    let lost: unknown = new Error('the connection was closed before the end of the log')
    try {
      for await (const messages of messagesOf(await open(lastEventId))) {
        failures = 0
        aliveAt = clock.now()
        for (const message of messages) {
          const event = eventOf(message)
          if (event !== null) yield event
          lastEventId = message.id ?? lastEventId
          if (event?.type === 'end') return
        }
      }
    } catch (error) {
      lost = error
    }
    if (stop.aborted) return
    const { failure } = lost instanceof CommandFailure ? lost : unreachable(CALL, lost)
    failures += 1
    if (!isPassing(failure) || clock.now() - aliveAt > PATIENCE_MS) throw new CommandFailure(failure)
    await clock.sleep(backoffMs(failures, failure, clock.random), [stop])
  }
}

/** Whole messages by the pieces they came in; a piece may hold none. */
async function* messagesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<EventSourceMessage[]> {
  const decoder = new TextDecoder()
  let whole: EventSourceMessage[] = []
  const parser = createParser({ onEvent: message => whole.push(message) })
  for await (const bytes of body) {
    parser.feed(decoder.decode(bytes, { stream: true }))
    yield whole
    whole = []
  }
}

/** @returns null for a kind of event that this release does not know */
function eventOf({ event, data }: EventSourceMessage): LogEvent | null {
  const json = parseJson(data)
  const value = json.ok ? json.value : undefined
  switch (event) {
    case 'session':
      return { type: 'session', ...parsed(LOG_EVENTS.session, value) }
    case 'log':
      return { type: 'log', ...parsed(LOG_EVENTS.log, value) }
    case 'end':
      return { type: 'end', ...parsed(LOG_EVENTS.end, value) }
    default:
      return null
  }
}

function parsed<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const detail = 'answered 200: an event of the log is not as expected'
  throw new CommandFailure({ kind: 'unexpected', call: CALL, status: 200, detail })
}
