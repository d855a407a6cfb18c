import * as z from 'zod'
import { RunStatus } from './run.ts'

/**
 * The server-sent events of `GET /runs/{run_id}/logs?follow=1`. A `session` begins an attempt's log, and `end` is the
 * last; an answer that ends without it asks to come back with the last event's id.
 */
export const LOG_EVENTS = {
  session: z.object({ session_id: z.string(), attempt: z.number().int().nullable() }),
  /** `offset`: of the text's first byte in the log of its session. */
  log: z.object({ offset: z.number().int(), text: z.string() }),
  end: z.object({ status: RunStatus }),
}
export type LogEventType = keyof typeof LOG_EVENTS
export type LogEventData<Type extends LogEventType> = z.infer<(typeof LOG_EVENTS)[Type]>
