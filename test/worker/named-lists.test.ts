import { beforeAll, describe, expect, it } from 'vitest'
import { mintId } from '../../worker/ids.ts'
import { call, outcome } from './client.ts'
import { makeEnvironment, makePool, makeTenant, ok, type TestTenant } from './world.ts'

/** Whoever has many pools or environments asks for the one they mean. */

const NAMES = ['Office Berlin', 'office_Paris', 'lab 100%', 'lab 1000'] as const
let tenant: TestTenant
const ids: Record<'pools' | 'environments', string[]> = { pools: [], environments: [] }

beforeAll(async () => {
  tenant = await makeTenant()
  const stranger = await makeTenant()
  await makeEnvironment(stranger, await makePool(stranger))
  const key = tenant.keys.admin
  for (const name of NAMES) {
    ids.pools.push(String(ok(await call('POST', '/api/v1/pools', { key, body: { name } })).body.id))
    const body = { name, execution_target: 'self_hosted', pool_id: ids.pools.at(-1) }
    ids.environments.push(String(ok(await call('POST', '/api/v1/environments', { key, body })).body.id))
  }
})

async function named(list: string, query: string): Promise<unknown> {
  const { body } = ok(await call('GET', `/api/v1/${list}?${query}`, { key: tenant.keys.viewer }))
  return (body.items as { name: string }[]).map(({ name }) => name).toReversed()
}

describe.each(['pools', 'environments'] as const)('a list of %s', list => {
  it.each([
    ['name=office', ['Office Berlin', 'office_Paris']],
    ['name=BERLIN', ['Office Berlin']],
    ['name=ice_p', ['office_Paris']],
    ['name=100%25', ['lab 100%']],
    ['name=100%25&limit=1', ['lab 100%']],
    ['name=nowhere', []],
    ['name=', NAMES],
  ])('shows those that are asked for: %s', async (query, expected) => {
    expect(await named(list, query)).toEqual(expected)
  })

  it('shows those of the ids that it is given, as far as they are the tenant’s own', async () => {
    const [first, , third] = ids[list]
    const stranger = mintId(list === 'pools' ? 'pool' : 'environment')
    expect(await named(list, `id=${third},${stranger},${first}`)).toEqual([NAMES[0], NAMES[2]])
    expect(await named(list, `id=${third},${first}&name=office`)).toEqual([NAMES[0]])
  })

  it.each(['id=', 'id=nonsense', `id=${Array(51).fill(0)}`, `name=${'n'.repeat(101)}`, 'name=%00'])(
    'refuses what cannot be: %s',
    async query => {
      const answer = await call('GET', `/api/v1/${list}?${query}`, { key: tenant.keys.viewer })
      expect(outcome(answer)).toBe('invalid_request')
    },
  )
})

it('shows the environments of an execution target', async () => {
  const body = { name: 'public', execution_target: 'cloud' }
  ok(await call('POST', '/api/v1/environments', { key: tenant.keys.admin, body }))
  expect(await named('environments', 'execution_target=cloud')).toEqual(['public'])
  expect(await named('environments', 'execution_target=self_hosted')).toEqual(NAMES)
})
