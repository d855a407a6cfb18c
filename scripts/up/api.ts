import { z } from 'zod'
import { Problem } from '../../protocol/errors.ts'

/** Calls of the admin API with one credential. Every answer is checked against the contract. */
export interface Api {
  /** What authorizes a call. */
  readonly headers: Readonly<Record<string, string>>
  get<T>(path: string, answer: z.ZodType<T>): Promise<T>
  post<T>(path: string, body: unknown, answer: z.ZodType<T>): Promise<T>
  put<T>(path: string, body: unknown, answer: z.ZodType<T>): Promise<T>
  remove(path: string): Promise<void>
  /** For answers that are not JSON; whatever they are. */
  fetch(path: string): Promise<Response>
}

export class ApiError extends Error {
  readonly status: number
  readonly code: string

  constructor(call: string, status: number, code: string, detail: string) {
    super(`${call}: ${status} ${code}: ${detail}`)
    this.status = status
    this.code = code
  }
}

/** An answer that takes longer is not coming. */
const ANSWER_LIMIT_MS = 20_000

export function apiClient(origin: string, credential: string): Api {
  const headers = { authorization: `Bearer ${credential}` }
  async function call<T>(method: string, path: string, body: unknown, answer: z.ZodType<T>): Promise<T> {
    const response = await fetch(`${origin}/api/v1${path}`, {
      method,
      headers: {
        ...headers,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    })
    const text = await response.text()
    if (response.ok) return answer.parse(tryJson(text))
    const problem = Problem.safeParse(tryJson(text))
    const { code, detail } = problem.success ? problem.data : { code: 'unknown', detail: text.slice(0, 200) }
    throw new ApiError(`${method} ${path}`, response.status, code, detail)
  }
  return {
    headers,
    get: (path, answer) => call('GET', path, undefined, answer),
    post: (path, body, answer) => call('POST', path, body, answer),
    put: (path, body, answer) => call('PUT', path, body, answer),
    remove: async path => void (await call('DELETE', path, undefined, z.undefined())),
    fetch: path => fetch(`${origin}/api/v1${path}`, { headers }),
  }
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
