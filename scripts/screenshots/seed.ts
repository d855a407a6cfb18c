import { z } from 'zod'
import { CreatedRegistrationToken, CreatedTenant, Environment, Pool } from '../../protocol/admin-api.ts'
import type { Exit } from '../../protocol/runner-api.ts'
import { type Api, apiClient } from '../up/api.ts'
import { PretendRunner, type PretendRunnerOptions } from './pretend-runner.ts'

/** A company with two offices and a data centre: enough of everything to see how a page looks. */
export interface Fleet {
  readonly api: Api
  readonly key: string
  readonly pools: Readonly<Record<'berlin' | 'frankfurt' | 'lab', Pool>>
  readonly environments: Readonly<Record<'staging' | 'checkout' | 'nightly', Environment>>
  /** Those that are to stay online have to be heard. */
  readonly runners: readonly PretendRunner[]
}

const anything = z.unknown()
const IMAGE = 'registry.acme.internal/e2e/playwright:v1.48.2'
const EXITS: readonly Exit[] = [
  { code: 0, reason: 'exited' },
  { code: 0, reason: 'exited' },
  { code: 1, reason: 'exited', message: '3 of 214 tests failed' },
  { code: 0, reason: 'exited' },
  { code: 137, reason: 'oom', message: 'the container reached its limit of 2048 MB' },
  { code: 0, reason: 'exited' },
]

export async function seedFleet(origin: string, operatorKey: string): Promise<Fleet> {
  const operator = apiClient(origin, operatorKey)
  const created = await operator.post('/tenants', { slug: 'acme', name: 'Acme' }, CreatedTenant)
  const key = created.api_key.secret
  const api = apiClient(origin, key)
  const pool = (name: string, description: string) => api.post('/pools', { name, description }, Pool)
  const pools = {
    lab: await pool('device-lab', 'Reserved for the release candidates'),
    frankfurt: await pool('fra1-dmz', 'Rack 14 in Frankfurt; ask the platform team'),
    berlin: await pool('office-berlin', 'The cabinet on the third floor, next to the kitchen'),
  }
  const environment = (name: string, to: Pool, default_image: string) => {
    const body = { name, execution_target: 'self_hosted', pool_id: to.id, default_image }
    return api.post('/environments', body, Environment)
  }
  const environments = {
    nightly: await environment('nightly', pools.frankfurt, IMAGE),
    checkout: await environment('checkout', pools.berlin, IMAGE),
    staging: await environment('staging', pools.berlin, IMAGE),
  }
  await api.post('/environments', { name: 'public-site', execution_target: 'cloud' }, Environment)
  const fleet = { api, key, pools, environments, runners: await seedRunners(origin, api, pools) }
  await seedRuns(fleet)
  await seedPeople(api)
  return fleet
}

async function seedRunners(origin: string, api: Api, pools: Fleet['pools']): Promise<PretendRunner[]> {
  const { berlin, lab } = pools
  const secrets = {
    berlin: await tokenOf(api, berlin, { name: 'third floor', expires_in_seconds: 2_592_000 }),
    lab: await tokenOf(api, lab, { name: 'lab', expires_in_seconds: 5_400 }),
  }
  await tokenOf(api, berlin, { name: 'single use', max_uses: 1 })
  const join = (options: Omit<PretendRunnerOptions, 'origin' | 'poolId' | 'registrationToken'>) =>
    PretendRunner.join({ origin, poolId: berlin.id, registrationToken: secrets.berlin, ...options })
  const runners = [
    await join({ name: 'berlin-nuc-1', slots: 4, labels: { zone: 'office', disk: 'nvme' } }),
    await join({ name: 'berlin-nuc-2', slots: 4, labels: { zone: 'office' } }),
    await join({ name: 'berlin-tower', slots: 8, labels: { zone: 'office', gpu: 'none' }, version: '0.0.9' }),
    await PretendRunner.join({
      origin,
      poolId: lab.id,
      registrationToken: secrets.lab,
      name: 'lab-1',
      slots: 2,
    }),
  ]
  // It says nothing any more.
  await join({ name: 'berlin-attic', slots: 2, labels: { zone: 'attic' } })
  await api.post(`/pools/${lab.id}/drain`, { note: 'new switches, back on Thursday' }, anything)
  return runners
}

async function tokenOf(api: Api, { id }: Pool, body: object): Promise<string> {
  return (await api.post(`/pools/${id}/registration-tokens`, body, CreatedRegistrationToken)).secret
}

async function seedRuns({ api, environments, runners }: Omit<Fleet, 'key'>): Promise<void> {
  const { staging, checkout, nightly } = environments
  const start = (environment: Environment, more: object = {}) =>
    api.post(
      `/environments/${environment.id}/runs`,
      { command: ['npx', 'playwright', 'test'], ...more },
      anything,
    )
  for (const exit of EXITS) {
    for (const environment of [staging, checkout]) await start(environment)
    for (const runner of runners) {
      await runner.sync()
      await runner.sync()
      runner.endAll(exit)
      await runner.sync()
    }
  }
  for (let i = 0; i < 7; i++) await start(i % 2 === 0 ? staging : checkout, { labels: { zone: 'office' } })
  for (const runner of runners) {
    await runner.sync()
    await runner.sync()
  }
  await start(staging, { labels: { zone: 'office', gpu: 'nvidia' } })
  for (let i = 0; i < 3; i++) await start(nightly, { priority: 5, labels: { rack: '12' } })
}

async function seedPeople(api: Api): Promise<void> {
  await api.post('/api-keys', { name: 'GitHub Actions', role: 'member' }, anything)
  await api.post('/api-keys', { name: 'grafana', role: 'viewer', expires_in_seconds: 2_592_000 }, anything)
  for (const [email, role] of [
    ['rosa@acme.example', 'admin'],
    ['li.wei@acme.example', 'member'],
  ]) {
    await api.put('/members', { email, role }, anything)
  }
}
