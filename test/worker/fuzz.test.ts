import { beforeAll, describe, expect, it } from 'vitest'
import { BODY_LIMIT_BYTES } from '../../protocol/limits.ts'
import { openApiDocument } from '../../worker/docs/openapi.ts'
import type { Route } from '../../worker/http/route.ts'
import { mintId } from '../../worker/ids.ts'
import { ROUTES } from '../../worker/routes/all.ts'
import { type Ask, BINDINGS, call, outcome } from './client.ts'
import { fill, MATRIX, makeWorld, nameOf, rightKey, type World } from './matrix.ts'

/**
 * Every field of every body, every path and query parameter is given what does not belong there. Whatever comes of
 * it is an answer of the API or a refusal in its one form, and a refusal changes nothing.
 */
const HOSTILE: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  Number.MAX_SAFE_INTEGER,
  '',
  ' ',
  'x',
  'x'.repeat(100_000),
  '\u0000',
  'line\nbreak\u2028',
  '\ud800',
  '😀'.repeat(200),
  '../../etc/passwd',
  "'; DROP TABLE tenants; --",
  '<script>alert(1)</script>',
  mintId('session'),
  [],
  {},
  [null],
  Array(2000).fill('x'),
  Array(2000).fill({ session_id: mintId('session') }),
  { 'a=b': 'c', '': '', constructor: 'x', toString: 'y' },
  Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`k${i}`, 'v'])),
  nested(12),
  nested(40),
]

function nested(depth: number): unknown {
  return depth === 0 ? 'bottom' : { deeper: nested(depth - 1) }
}

const RAW_BODIES = [
  '',
  '{',
  'null',
  '[]',
  '"x"',
  '1',
  '{"__proto__":{"x":1}}',
  `[${'['.repeat(5000)}`,
  '\ufeff{}',
]

const WATCHED = [
  'tenants',
  'api_keys',
  'browser_sessions',
  'members',
  'pools',
  'registration_tokens',
  'registration_token_uses',
  'environments',
  'idempotency_keys',
  'runs',
]

/** How many rows of everything there are, and what the pool's object counts. */
async function stateOf(world: World): Promise<unknown> {
  const counts = WATCHED.map(table => `(SELECT count(*) FROM ${table}) AS ${table}`).join(', ')
  const rows = await BINDINGS.DB.prepare(
    `SELECT ${counts}, (SELECT sum(uses) FROM registration_tokens) AS used`,
  ).first()
  const summary = await BINDINGS.RUNNER_POOL.getByName(world.poolId).summary()
  return {
    rows,
    summary: summary.ok
      ? { ...summary.value, stats: { ...summary.value.stats, oldest_queued_seconds: 0 } }
      : null,
  }
}

async function fuzz(route: Route, world: World, what: string, path: string, ask: Ask): Promise<void> {
  const before = await stateOf(world)
  const answer = await call(route.method.toUpperCase(), path, { key: rightKey(route, world), ...ask })
  const end = outcome(answer)
  expect(answer.status, `${what}: ${answer.text.slice(0, 300)}`).toBeLessThan(500)
  if (typeof end === 'string') expect(await stateOf(world), `${what}: ${end}`).toEqual(before)
}

/** The names a body may have, as the document tells them. */
function fieldsOf(route: Route): string[] {
  const document = JSON.parse(JSON.stringify(openApiDocument(ROUTES)))
  const schema =
    document.paths[route.path][route.method].requestBody?.content['application/json'].schema ?? {}
  const resolved =
    schema.$ref === undefined ? schema : document.components.schemas[schema.$ref.split('/').at(-1)]
  return Object.keys(resolved.properties ?? {})
}

const named = (routes: readonly Route[]) => routes.map(route => [nameOf(route), route] as const)
const withBody = ROUTES.filter(route => route.documented.body !== undefined)
const withIds = ROUTES.filter(route => route.path.includes('{'))
const withQuery = ROUTES.filter(route => route.documented.query !== undefined && route.path !== '/healthz')

describe.each(named(withBody))('the body of %s', (name, route) => {
  let world: World
  let path: string
  beforeAll(async () => {
    world = await makeWorld(route)
    path = fill(route, world.ids)
  })
  const right = () => ({ ...(MATRIX[name]?.body?.(world) as object | undefined) })

  it('may hold anything in any field', async () => {
    for (const field of fieldsOf(route)) {
      for (const value of HOSTILE) {
        const body = { ...right(), [field]: value }
        await fuzz(route, world, `${field} = ${JSON.stringify(value).slice(0, 40)}`, path, { body })
      }
    }
  })

  it('may miss any field or have more of them', async () => {
    for (const field of fieldsOf(route)) {
      const { [field]: _, ...body } = right() as Record<string, unknown>
      await fuzz(route, world, `without ${field}`, path, { body })
    }
    await fuzz(route, world, 'one more', path, { body: { ...right(), surplus: nested(3) } })
  })

  it('may be no object, no JSON, no text, or too much', async () => {
    const headers = { 'content-type': 'application/json' }
    for (const rawBody of [...RAW_BODIES, new Uint8Array([0xc3, 0x28]), 'x'.repeat(BODY_LIMIT_BYTES + 1)]) {
      await fuzz(route, world, `raw ${String(rawBody).slice(0, 40)}`, path, { rawBody, headers })
    }
  })
})

describe.each(named(withIds))('the ids of %s', (name, route) => {
  it('may be anything', async () => {
    const world = await makeWorld(route)
    const ids = [
      'x',
      '%00',
      '%ff',
      '%2e%2e',
      'run_'.repeat(500),
      mintId('command'),
      '😀',
      "'",
      '%25',
      '*',
      ':id',
    ]
    for (const id of ids) {
      const path = route.path.replaceAll(/\{[^}]+\}/g, encodeURI(id).replaceAll('%25', '%'))
      await fuzz(route, world, id, path, { body: MATRIX[name]?.body?.(world) })
    }
  })
})

describe.each(named(withQuery))('the query of %s', (_, route) => {
  it('may be anything', async () => {
    const world = await makeWorld(route)
    const values = [
      '',
      'x',
      '-1',
      '1e9',
      '0x10',
      '%00',
      '%ff',
      '%F0%9F%98%80',
      'a'.repeat(5000),
      "';--",
      '[]',
      '1&limit=2',
    ]
    for (const field of [
      'limit',
      'cursor',
      'status',
      'environment_id',
      'pool_id',
      'force',
      'hours',
      'surplus',
      '__proto__',
    ]) {
      for (const value of values) {
        await fuzz(route, world, `${field}=${value}`, `${fill(route, world.ids)}?${field}=${value}`, {})
      }
    }
  })
})
