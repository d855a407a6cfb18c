import type { z } from 'zod'
import { Problem } from '../../protocol/errors.ts'
import { parseJson } from '../../protocol/json.ts'
import { CommandFailure } from '../failure.ts'

export type Headers = Readonly<Record<string, string | string[] | undefined>>

export interface Answer {
  /** Which call it answers, for messages. */
  readonly call: string
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** What servers say, in a page of their own, to plain HTTP on their TLS port. */
const TLS_ONLY = /(?:plain HTTP|HTTP request)\b.{0,40}\b(?:HTTPS|SSL|TLS)/i

/** @returns what a good answer holds @throws CommandFailure for any other */
export function interpret<Schema extends z.ZodType>(answer: Answer, schema: Schema): z.output<Schema> {
  if (answer.status >= 300) throw refusalOf(answer)
  if (answer.status === 204) return parsed(answer, undefined, schema)
  const json = parseJson(answer.text)
  if (!json.ok) throw unexpected(answer, json.message)
  return parsed(answer, json.value, schema)
}

/** @param answer one whose status is not 2xx */
export function refusalOf(answer: Answer): CommandFailure {
  if (answer.status < 400) return unexpected(answer, 'a redirect, which is never followed')
  const json = parseJson(answer.text)
  if (!json.ok) {
    return unexpected(
      answer,
      TLS_ONLY.test(answer.text) ? 'this port speaks TLS only: use https://' : json.message,
    )
  }
  const problem = Problem.safeParse(json.value)
  if (!problem.success) return unexpected(answer, 'something that is not this API’s')
  return new CommandFailure({
    kind: 'refused',
    call: answer.call,
    problem: problem.data,
    retryAfterMs: retryAfterOf(answer.headers['retry-after']),
  })
}

function parsed<Schema extends z.ZodType>(answer: Answer, value: unknown, schema: Schema): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw unexpected(answer, `${issue?.path.join('.') || 'the body'} is not as expected: ${issue?.message}`)
}

function unexpected({ call, status }: Answer, detail: string): CommandFailure {
  return new CommandFailure({ kind: 'unexpected', call, status, detail: `answered ${status}: ${detail}` })
}

/** Seconds, the only form this API sends. */
function retryAfterOf(header: string | string[] | undefined): number {
  const seconds = Number(Array.isArray(header) ? header[0] : header)
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0
}
