import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { HealthStatus, pageOf, Tenant } from '../../protocol/admin-api.ts'
import { VERSION } from '../../protocol/version.ts'

/**
 * Whether what was deployed answers at its address: the release, the contract, the dashboard's first page and, with
 * the operator key at hand, a call that reads the database. It changes nothing. A new version, secret or address
 * takes a while until it is everywhere, so everything is asked again until all is well or time is up.
 */
export interface Address {
  readonly origin: string
  /** For an address behind Cloudflare Access; empty otherwise. */
  readonly headers: Readonly<Record<string, string>>
}

interface Check {
  readonly what: string
  readonly path: string
  readonly bearer?: string
  /** @returns what is wrong with it, or null */
  readonly judge: (response: Response, text: string) => string | null
}

export interface Trouble {
  readonly what: string
  readonly why: string
}

const ANSWER_LIMIT_MS = 15_000
const FIRST_PAUSE_MS = 500
const PAUSE_CAP_MS = 5_000

const Contract = z.object({ openapi: z.string(), info: z.object({ version: z.string() }) })

function checks(operatorKey: string | null): Check[] {
  return [
    {
      what: `release ${VERSION}`,
      path: '/healthz',
      judge: versionOf(HealthStatus, health => health.version),
    },
    { what: 'API document', path: '/openapi.json', judge: versionOf(Contract, ({ info }) => info.version) },
    {
      what: 'dashboard',
      path: '/',
      judge: (_, text) => (text.includes('/assets/app.js') ? null : 'this is not the dashboard’s page'),
    },
    {
      what: 'dashboard’s program',
      path: '/assets/app.js',
      judge: ({ headers }) =>
        headers.get('content-type')?.includes('javascript') ? null : 'this is no JavaScript',
    },
    ...(operatorKey === null ? [] : [operatorCheck(operatorKey)]),
  ]
}

function operatorCheck(bearer: string): Check {
  return {
    what: 'operator’s call',
    path: '/api/v1/tenants?limit=1',
    bearer,
    judge: (_, text) => (pageOf(Tenant).safeParse(json(text)).success ? null : 'this is no list of tenants'),
  }
}

/** @returns what was still wrong when time was up; nothing, if all is well */
export async function smokeCheck(
  address: Address,
  operatorKey: string | null,
  limitMs: number,
): Promise<Trouble[]> {
  const end = performance.now() + limitMs
  let open = checks(operatorKey)
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_CAP_MS)) {
    const seen = await Promise.all(open.map(async check => ({ check, why: await ask(address, check) })))
    const wrong = seen.flatMap(({ check, why }) => (why === null ? [] : [{ check, why }]))
    if (wrong.length === 0) return []
    if (performance.now() + pauseMs > end) return wrong.map(({ check, why }) => ({ what: check.what, why }))
    open = wrong.map(({ check }) => check)
    await sleep(pauseMs)
  }
}

/** Asks once: an address that does not answer yet has not accepted it. */
export async function accepts(address: Address, operatorKey: string): Promise<boolean> {
  return (await ask(address, operatorCheck(operatorKey))) === null
}

async function ask({ origin, headers }: Address, { path, bearer, judge }: Check): Promise<string | null> {
  try {
    const response = await fetch(`${origin}${path}`, {
      headers: { ...headers, ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }) },
      redirect: 'manual',
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    })
    const text = await response.text()
    const why = response.status === 200 ? judge(response, text) : refusalIn(response, text)
    return why === null ? null : `${path}: ${why}`
  } catch (error) {
    const { cause, message } = error instanceof Error ? error : new Error(String(error))
    return `${path}: no answer (${cause instanceof Error ? cause.message : message})`
  }
}

function refusalIn({ status, headers }: Response, text: string): string {
  const location = headers.get('location') ?? ''
  if (URL.parse(location)?.hostname.endsWith('.cloudflareaccess.com')) {
    return 'Cloudflare Access asks for a sign-in: set CLOUDFLARE_ACCESS_CLIENT_ID and CLOUDFLARE_ACCESS_CLIENT_SECRET of a service token that it lets in'
  }
  const problem = z.object({ code: z.string(), detail: z.string() }).safeParse(json(text))
  return problem.success ? `${status} ${problem.data.code}: ${problem.data.detail}` : `status ${status}`
}

function versionOf<T>(schema: z.ZodType<T>, version: (answer: T) => string): Check['judge'] {
  return (_, text) => {
    const parsed = schema.safeParse(json(text))
    if (!parsed.success) return 'this is not the control plane’s answer'
    const found = version(parsed.data)
    return found === VERSION ? null : `release ${found} answers, not ${VERSION}`
  }
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
