import { beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Route } from '../../worker/http/route.ts'
import { ROUTES } from '../../worker/routes/all.ts'
import { type Answer, call } from './client.ts'
import { hasIds, makeWorld, nameOf, type World } from './matrix.ts'
import { makeEnvironment, makePool, makeRun, makeTenant, ok, type TestTenant } from './world.ts'

/**
 * Every list that a tenant asks for by nothing but its key: it finds what is its own in it and nothing of another's.
 * A list under an id is refused to others like everything under that id, which the authorization matrix shows.
 */

const shapeOf = (schema: z.ZodType | undefined) => (schema instanceof z.ZodObject ? schema.shape : {})
const isList = (route: Route) => route.method === 'get' && 'items' in shapeOf(route.documented.answer)
const LISTS = ROUTES.filter(route => isList(route) && !hasIds(route) && route.who !== 'operator')

let world: World
let other: TestTenant
let otherIds: string[]
beforeAll(async () => {
  other = await makeTenant()
  const poolId = await makePool(other)
  const environmentId = await makeEnvironment(other, poolId)
  otherIds = [other.id, poolId, environmentId, await makeRun(other, environmentId)]
  // The newest of everything: a list that forgot whose it is would begin with it.
  const [route] = LISTS
  if (route === undefined) throw new Error('there is no list')
  world = await makeWorld(route)
})

/** Ids that tell whose an answer is; the others are the same in every world. */
function idsOfWorld(): string[] {
  return Object.values(world.ids).filter(id => /^[a-z]{3}_/.test(id))
}

async function ask(route: Route, tenant: TestTenant, query = ''): Promise<Answer> {
  if (route.who !== 'viewer' && route.who !== 'member' && route.who !== 'admin') {
    throw new Error(`${nameOf(route)} is not for tenants`)
  }
  return ok(await call('GET', `${route.path}${query}`, { key: tenant.keys[route.who] }))
}

it('knows the lists', () => {
  expect(LISTS.map(nameOf)).toEqual(
    expect.arrayContaining(
      ['api-keys', 'pools', 'environments', 'runs', 'live-links', 'audit-events'].map(
        list => `get /api/v1/${list}`,
      ),
    ),
  )
})

describe.each(LISTS.map(route => [nameOf(route), route] as const))('%s', (_, route) => {
  const filters = ['pool_id', 'environment_id'].filter(name => name in shapeOf(route.documented.query))

  it('holds what is the tenant’s own and nothing else', async () => {
    const { text } = await ask(route, world.tenant)
    expect(
      idsOfWorld().some(id => text.includes(id)),
      text,
    ).toBe(true)
    for (const id of otherIds) expect(text).not.toContain(id)
  })

  it('holds nothing of another tenant’s', async () => {
    const { text } = await ask(route, other)
    for (const id of idsOfWorld()) expect(text).not.toContain(id)
  })

  if (filters.length === 0) return

  it('holds nothing when it is asked for by another tenant’s ids', async () => {
    for (const name of filters) {
      const query = `?${name}=${world.ids[name]}`
      expect((await ask(route, world.tenant, query)).body.items, query).not.toEqual([])
      expect((await ask(route, other, query)).body.items, query).toEqual([])
    }
  })
})
