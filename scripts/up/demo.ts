import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { z } from 'zod'
import {
  CreatedApiKey,
  CreatedRegistrationToken,
  CreatedTenant,
  Environment,
  Me,
  Pool,
  pageOf,
  Tenant,
} from '../../protocol/admin-api.ts'
import { type Api, ApiError, apiClient } from './api.ts'

/**
 * The demo tenant and what belongs to it. Its keys are kept in one file that only this user can read; everything
 * else is looked up by name, so that a second `npm run up` finds what the first one made.
 */
const Keys = z.object({ operator_key: z.string().min(16), admin_key: z.string().optional() })
type Keys = z.infer<typeof Keys>

const NAME = 'demo'

/** @returns the operator key that the control plane is to be started with */
export function operatorKey(file: string, given: string | undefined): string {
  const known = readKeys(file)
  const key = given ?? known?.operator_key ?? randomBytes(24).toString('base64url')
  // Not stored unless it will do: what is stored is used by every later start.
  if (!Keys.shape.operator_key.safeParse(key).success) {
    throw new Error('OPERATOR_KEY: expected at least 16 characters')
  }
  writeKeys(file, { ...known, operator_key: key })
  return key
}

export interface Demo {
  readonly api: Api
  readonly adminKey: string
  readonly poolId: string
  readonly environmentId: string
}

export async function ensureDemo(origin: string, file: string): Promise<Demo> {
  const adminKey = await ensureAdminKey(origin, file)
  const api = apiClient(origin, adminKey)
  const pools = await api.get('/pools', pageOf(Pool))
  const pool = pools.items.find(one => one.name === NAME) ?? (await api.post('/pools', { name: NAME }, Pool))
  const environments = await api.get('/environments?limit=200', pageOf(Environment))
  const environment =
    environments.items.find(one => one.name === NAME && one.pool_id === pool.id) ??
    (await api.post(
      '/environments',
      { name: NAME, execution_target: 'self_hosted', pool_id: pool.id },
      Environment,
    ))
  return { api, adminKey, poolId: pool.id, environmentId: environment.id }
}

/** Good for one runner that registers within the hour; one that already has a credential never looks at it. */
export async function registrationToken({ api, poolId }: Demo): Promise<string> {
  const token = await api.post(
    `/pools/${poolId}/registration-tokens`,
    { name: 'npm run up', max_uses: 1 },
    CreatedRegistrationToken,
  )
  return token.secret
}

async function ensureAdminKey(origin: string, file: string): Promise<string> {
  const keys = readKeys(file)
  if (keys === null) throw new Error(`${file} is missing`)
  if (keys.admin_key !== undefined && (await isGood(origin, keys.admin_key))) return keys.admin_key
  const adminKey = await mintAdminKey(apiClient(origin, keys.operator_key))
  writeKeys(file, { ...keys, admin_key: adminKey })
  return adminKey
}

async function isGood(origin: string, key: string): Promise<boolean> {
  try {
    await apiClient(origin, key).get('/me', Me)
    return true
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return false
    throw error
  }
}

async function mintAdminKey(operator: Api): Promise<string> {
  const tenants = await operator.get('/tenants?limit=200', pageOf(Tenant))
  const tenant = tenants.items.find(one => one.slug === NAME)
  if (tenant === undefined) {
    const created = await operator.post('/tenants', { slug: NAME, name: 'Demo' }, CreatedTenant)
    return created.api_key.secret
  }
  const body = { name: 'npm run up', role: 'admin' }
  return (await operator.post(`/tenants/${tenant.id}/api-keys`, body, CreatedApiKey)).secret
}

function readKeys(file: string): Keys | null {
  try {
    return Keys.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw new Error(`${file} is not readable; remove it together with the folder it is in to start afresh`)
  }
}

function writeKeys(file: string, keys: Keys): void {
  const temporary = `${file}.new`
  writeFileSync(temporary, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 })
  renameSync(temporary, file)
}
