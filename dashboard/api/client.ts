import type * as z from 'zod'
import { type ErrorCode, Problem } from '../../protocol/errors.ts'
import { hearClock } from './clock.ts'

/** Calls of the admin API, as whoever is signed in: the browser sends the cookie, this page never sees it. */

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The API said no, and why. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail)
    this.problem = problem
  }

  get code(): ErrorCode {
    return this.problem.code
  }
}

/** No answer, or one that is not this API's. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable'
}

type Listener = (reason: string) => void
let onSignedOut: Listener = () => undefined

/** @param listener called with the reason whenever a call finds that nobody is signed in any more */
export function whenSignedOut(listener: Listener): void {
  onSignedOut = listener
}

export interface CallOptions {
  readonly method?: Method
  readonly body?: unknown
  readonly signal?: AbortSignal
  /** A 401 is an answer here, not the end of the session. */
  readonly isSignIn?: boolean
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * @param path below `/api/v1`
 * @throws Refused with the API's problem, Unreachable where there is no usable answer
 */
export async function call<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  { method = 'GET', body, signal, isSignIn = false, headers = {} }: CallOptions = {},
): Promise<z.output<Schema>> {
  const response = await send(path, {
    method,
    headers: { ...headers, ...(body !== undefined && { 'content-type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(signal !== undefined && { signal }),
  })
  if (!response.ok) throw await refusalOf(response, isSignIn)
  const answer: unknown = response.status === 204 ? undefined : await response.json().catch(() => undefined)
  const parsed = schema.safeParse(answer)
  if (parsed.success) return parsed.data
  throw new Unreachable('The control plane answered with something this page does not know; reload it.')
}

/** What an answer that is not ok says. */
export async function refusalOf(response: Response, isSignIn = false): Promise<Refused | Unreachable> {
  const problem = Problem.safeParse(await response.json().catch(() => undefined))
  if (!problem.success) return new Unreachable(`The control plane answered with ${response.status}.`)
  if (problem.data.status === 401 && !isSignIn) onSignedOut(problem.data.detail)
  return new Refused(problem.data)
}

/**
 * For answers that are not JSON.
 * @throws Unreachable
 */
export async function send(path: string, init: RequestInit): Promise<Response> {
  const sentAt = Date.now()
  try {
    const response = await fetch(`/api/v1${path}`, { ...init, credentials: 'same-origin' })
    hearClock(response.headers.get('date'), sentAt, Date.now())
    return response
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Unreachable('The control plane cannot be reached.')
  }
}

/** What is wrong with one field of a form, by the API's own path of it. */
export function fieldErrors(error: unknown): ReadonlyMap<string, string> {
  const errors = error instanceof Refused ? (error.problem.errors ?? []) : []
  return new Map(errors.map(({ path, message }) => [path, message]))
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
