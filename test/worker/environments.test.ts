import { beforeEach, describe, expect, it } from 'vitest'
import { openDirectory } from '../../worker/directory/database.ts'
import { insertEnvironment, updateEnvironment } from '../../worker/directory/environments.ts'
import { deletePoolRow } from '../../worker/directory/pools.ts'
import { mintId } from '../../worker/ids.ts'
import { BINDINGS, call, outcome } from './client.ts'
import { makeEnvironment, makePool, makeRun, makeTenant, ok, type TestTenant } from './world.ts'

const directory = openDirectory(BINDINGS.DB)
let tenant: TestTenant
let poolId: string
let environmentId: string
beforeEach(async () => {
  tenant = await makeTenant()
  poolId = await makePool(tenant)
  environmentId = await makeEnvironment(tenant, poolId)
})

const path = () => `/api/v1/environments/${environmentId}`
const patch = (body: unknown) => call('PATCH', path(), { key: tenant.keys.admin, body })
const read = async () => ok(await call('GET', path(), { key: tenant.keys.viewer })).body
const deletePool = (id: string, env: Record<string, unknown> = {}) =>
  call('DELETE', `/api/v1/pools/${id}`, { key: tenant.keys.admin, env })

describe('changing an environment', () => {
  it('writes only the fields that were given', async () => {
    const fields = await Promise.all([
      patch({ name: 'renamed' }),
      patch({ default_image: 'busybox' }),
      patch({ execution_target: 'cloud' }),
    ])
    for (const answer of fields) ok(answer)
    expect(await read()).toMatchObject({
      name: 'renamed',
      default_image: 'busybox',
      execution_target: 'cloud',
      pool_id: poolId,
    })
    expect(ok(await patch({})).body).toEqual(await read())
  })

  it('never leaves self-hosted runs without a pool, even when two changes meet', async () => {
    ok(await patch({ execution_target: 'cloud' }))
    const met = await Promise.all([patch({ execution_target: 'self_hosted' }), patch({ pool_id: null })])
    expect(met.map(outcome).sort()).toEqual([200, 'invalid_request'])
    const { execution_target, pool_id } = await read()
    expect(execution_target === 'self_hosted' && pool_id === null).toBe(false)
  })

  it('stores a reference only to a pool of the tenant that is there', async () => {
    const foreign = await makePool(await makeTenant())
    for (const absent of [foreign, mintId('pool')]) {
      expect(outcome(await patch({ pool_id: absent }))).toBe('not_found')
      expect(await updateEnvironment(directory, tenant.id, environmentId, { pool_id: absent })).toBeNull()
      const fields = { name: 'e', execution_target: 'cloud', pool_id: absent, default_image: null } as const
      expect(await insertEnvironment(directory, tenant.id, mintId('environment'), fields, 1)).toBeNull()
    }
    expect(await read()).toMatchObject({ pool_id: poolId })
  })
})

describe('deleting a pool', () => {
  it('is refused by the very statement while an environment points at it', async () => {
    expect(await deletePoolRow(directory, tenant.id, poolId)).toBe(false)
    expect(outcome(await deletePool(poolId))).toBe('conflict')
    expect(outcome(await call('GET', `/api/v1/pools/${poolId}`, { key: tenant.keys.viewer }))).toBe(200)
  })

  it('cannot be met by an environment that begins to point at it', async () => {
    const bare = await makePool(tenant)
    const real = BINDINGS.RUNNER_POOL.getByName(bare)
    const met: (number | string)[] = []
    const meeting = {
      previewDestroy: () => real.previewDestroy(),
      destroy: async () => {
        met.push(outcome(await patch({ pool_id: bare })))
        return await real.destroy()
      },
    }
    expect(outcome(await deletePool(bare, { RUNNER_POOL: { getByName: () => meeting } }))).toBe(204)
    expect(met).toEqual(['not_found'])
    expect(await read()).toMatchObject({ pool_id: poolId })
  })

  it('leaves the pool as it was when a run was faster', async () => {
    const late = {
      previewDestroy: async () => ({ ok: true, value: null }),
      destroy: () => BINDINGS.RUNNER_POOL.getByName(poolId).destroy(),
    }
    await makeRun(tenant, environmentId)
    ok(await call('DELETE', path(), { key: tenant.keys.admin }))
    const env = { RUNNER_POOL: { getByName: () => late } }
    expect(outcome(await deletePool(poolId, env))).toBe('pool_not_empty')
    const { body } = ok(await call('GET', `/api/v1/pools/${poolId}`, { key: tenant.keys.viewer }))
    expect(body.stats.queued).toBe(1)
  })
})
