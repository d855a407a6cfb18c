import { readFileSync } from 'node:fs'
import { z } from 'zod'

/**
 * What a runner and a control plane of release 0.1.0 said to each other, as it went over the wire: a registration, a
 * session that is watched, writes a log, leaves an artifact and ends, and one that is cancelled. It is never made
 * anew: later releases have to go on understanding it. `{name}` stands for ids and secrets.
 */
const Fields = z.record(z.string(), z.unknown())
const Step = z.object({
  call: z.enum(['register', 'sync', 'logs', 'artifacts', 'part', 'complete']),
  method: z.enum(['POST', 'PUT']),
  path: z.string(),
  request: Fields.or(z.string()),
  status: z.number(),
  reply: Fields,
})
export type Step = z.infer<typeof Step>

const SyncParts = z.object({
  leases: z.array(z.looseObject({ session_id: z.string() })).default([]),
  offers: z.array(z.looseObject({ session_id: z.string(), run_id: z.string(), job: Fields })).default([]),
  commands: z.array(z.looseObject({ id: z.string(), type: z.string(), session_id: z.string() })).default([]),
  acks: z.array(z.string()).default([]),
})
/** @returns the lists of a sync's request or reply; empty ones for every other call */
export function listsOf(body: Step['request']): z.infer<typeof SyncParts> {
  return SyncParts.parse(typeof body === 'string' ? {} : body)
}

export const RECORDING = z
  .array(Step)
  .parse(JSON.parse(readFileSync(new URL('./release-0.1.0.json', import.meta.url), 'utf8')))

/** What was said on the websockets beside it. */
export const SAID = {
  doorbell: { ping: 'ping', pong: 'pong', ring: 'ring' },
  demand: '{"type":"demand","viewers":1,"max_fps":30,"refresh":true}',
  hello: '{"type":"hello","width":1280,"height":720}',
  /** A JPEG's first bytes as frame 7. */
  frame: Buffer.from('0100000007000001939c3a5d00ffd8ffe0', 'hex'),
} as const

export type Names = Map<string, string>

export function fill(text: string, names: Names): string {
  return text.replaceAll(/\{(\w+)\}/g, (placeholder, name) => names.get(name) ?? placeholder)
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
/** How long something takes or is large is the receiver's to read, not to expect. */
const MEASURE = /_ms$|_bytes$/

/**
 * Everything that was recorded has to be there with the same value, ids and times aside; more may be there.
 * A name that is met for the first time is learnt.
 *
 * @returns one line for each thing that is not as it was
 */
export function differences(recorded: unknown, actual: unknown, names: Names, at = ''): string[] {
  const placeholder = typeof recorded === 'string' ? /^\{(\w+)\}$/.exec(recorded)?.[1] : undefined
  if (placeholder !== undefined && typeof actual === 'string') {
    if (!names.has(placeholder)) names.set(placeholder, actual)
    return names.get(placeholder) === actual ? [] : [`${at}: ${actual} is not ${recorded}`]
  }
  if (typeof recorded === 'string' && TIME.test(recorded)) {
    return typeof actual === 'string' && TIME.test(actual) ? [] : [`${at}: ${actual} is no time`]
  }
  if (typeof recorded === 'number' && MEASURE.test(at)) {
    return typeof actual === 'number' ? [] : [`${at}: ${actual} is no number`]
  }
  if (Array.isArray(recorded)) {
    if (!Array.isArray(actual) || actual.length !== recorded.length) {
      return [`${at}: ${JSON.stringify(actual)} is not a list of ${recorded.length}`]
    }
    return recorded.flatMap((item, index) => differences(item, actual[index], names, `${at}.${index}`))
  }
  if (typeof recorded === 'object' && recorded !== null) {
    if (typeof actual !== 'object' || actual === null) return [`${at}: ${actual} is no object`]
    const fields: Record<string, unknown> = { ...actual }
    return Object.entries(recorded).flatMap(([name, value]) =>
      differences(value, fields[name], names, `${at}.${name}`),
    )
  }
  return recorded === actual ? [] : [`${at}: ${JSON.stringify(actual)} is not ${JSON.stringify(recorded)}`]
}
