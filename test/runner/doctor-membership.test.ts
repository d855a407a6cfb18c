import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { mintSecret } from '../../protocol/secrets.ts'
import { readCredential } from '../../runner/state/state-directory.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { Daemon } from '../support/runner.ts'
import { examine, outcomes } from './support/doctor.ts'
import { FakeControlPlane, RUNNER } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

const CHECKS = ['credential', 'membership', 'registration token']

describe('with a control plane of the test', () => {
  let plane: FakeControlPlane
  let directory: string
  beforeEach(async () => {
    plane = await FakeControlPlane.start()
    directory = temporaryDirectory()
  })
  afterEach(async () => {
    await plane.stop()
    removeDirectory(directory)
  })

  const settings = (change: Readonly<Record<string, string>> = {}) => ({
    ...settingsFor(plane, directory, 'host'),
    ...change,
  })

  /** A daemon that has joined, and then one that is gone again. */
  async function joined(): Promise<RunnerProcess> {
    const runner = new RunnerProcess(settings())
    await until('a sync', () => plane.syncs.length > 0)
    return runner
  }
  async function registered(): Promise<void> {
    await (await joined()).destroy()
  }

  function rewrite(change: Readonly<Record<string, unknown>>): void {
    const file = join(directory, 'credential.json')
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }), {
      mode: 0o600,
    })
  }

  test('a runner that has not registered needs a token, and one of the right form is ok', async () => {
    const found = await examine(settings())
    expect(outcomes(found, CHECKS)).toBe('credential ok, membership skipped, registration token ok')
    expect(found.get('registration token')?.seen).toContain(
      `cty_reg_…${plane.token.slice(-4)} has the right form`,
    )
    expect(plane.registrations).toEqual([])
  })

  test.each<[string, (token: string) => string, RegExp]>([
    ['cut short', token => token.slice(0, -1), /its checksum is wrong/],
    [
      'with one character changed',
      token => `${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`,
      /checksum/,
    ],
    ['in quotation marks', token => `"${token}"`, /quotation marks/],
    ['with a line break in it', token => `${token.slice(0, 20)}\n${token.slice(20)}`, /line breaks/],
    ['of another kind', () => mintSecret('apiKey'), /another kind of secret \(cty_key_\)/],
    ['of no kind', () => 'correct horse', /does not begin with cty_reg_|spaces/],
  ])('a token %s fails, and nothing of it is shown', async (_name, spoil, seen) => {
    const token = spoil(plane.token)
    const found = (await examine(settings({ REGISTRATION_TOKEN: token }))).get('registration token')
    expect(found).toMatchObject({
      outcome: 'fail',
      seen: expect.stringMatching(seen),
      remedy: expect.stringContaining('create a registration token'),
    })
    expect(JSON.stringify(found)).not.toContain(token.slice(8, 30))
  })

  test.each([
    [{}, /none is set, and the runner has to register/],
    [{ REGISTRATION_TOKEN_FILE: '/no/such/file' }, /REGISTRATION_TOKEN_FILE: cannot be read/],
  ])('no token with %j fails while there is no credential', async (change, seen) => {
    const found = await examine(settings({ REGISTRATION_TOKEN: '', ...change }))
    expect(found.get('registration token')).toMatchObject({
      outcome: 'fail',
      seen: expect.stringMatching(seen),
    })
  })

  test('an empty token file fails', async () => {
    const file = join(directory, 'token')
    writeFileSync(file, '\n')
    const found = await examine(settings({ REGISTRATION_TOKEN: '', REGISTRATION_TOKEN_FILE: file }))
    expect(found.get('registration token')).toMatchObject({
      outcome: 'fail',
      seen: expect.stringContaining('it is empty'),
    })
  })

  test('a credential that is good is ok, and no token is needed', async () => {
    await registered()
    const found = await examine(settings({ REGISTRATION_TOKEN: '' }))
    expect(outcomes(found, CHECKS)).toBe('credential ok, membership ok, registration token ok')
    expect(found.get('credential')?.seen).toMatch(new RegExp(`\\(${RUNNER}\\), 0 days old$`))
    expect(found.get('membership')?.seen).toBe(`${RUNNER} is known, and its credential is good`)
  })

  test('a credential that the control plane no longer takes fails, with the way back in', async () => {
    await registered()
    plane.credentials.push(mintSecret('runnerCredential'))
    const found = await examine(settings())
    expect(outcomes(found, CHECKS)).toBe('credential ok, membership fail, registration token ok')
    expect(found.get('membership')?.remedy).toContain('create a new registration token')
  })

  test('a credential that cannot be tried because nothing answers is not called bad', async () => {
    await registered()
    const env = settings()
    await plane.stop()
    const found = await examine(env)
    expect(outcomes(found, CHECKS)).toBe('credential ok, membership skipped, registration token ok')
    expect(found.get('membership')?.seen).toBe('skipped (needs: control plane)')
    plane = await FakeControlPlane.start()
  })

  test.each([
    ['RUNNER_POOL_ID', { pool_id: 'pol_01jd0000000000000000000001' }],
    ['RUNNER_NAME', { name: 'somebody-else' }],
    ['CONTROL_PLANE_URL', { control_plane: 'https://former.test/' }],
    ['the Docker Engine', { engine_id: 'another-engine' }],
  ])('a credential for another %s is a warning, and a token is needed', async (what, change) => {
    await registered()
    rewrite(change)
    const found = await examine(settings({ REGISTRATION_TOKEN: '' }))
    expect(outcomes(found, CHECKS)).toBe('credential warn, membership skipped, registration token fail')
    expect(found.get('credential')?.seen).toContain(`${what} was ${Object.values(change)[0]} and is `)
  })

  test.each([
    ['damaged', '{"half":', /is damaged/],
    ['of a wrong checksum', null, /checksum is wrong/],
  ])('a credential %s fails', async (_name, text, seen) => {
    await registered()
    const file = join(directory, 'credential.json')
    const spoilt = `${plane.credentials.at(-1)?.slice(0, -1)}`
    if (text === null) rewrite({ credential: spoilt })
    else writeFileSync(file, text, { mode: 0o600 })
    const found = (await examine(settings())).get('credential')
    expect(found?.outcome).toBe('fail')
    expect(`${found?.seen} ${found?.remedy}`).toMatch(seen)
    expect(JSON.stringify(found)).not.toContain(spoilt)
  })

  test('a daemon that is alive is asked first, and what troubles it is shown', async () => {
    const runner = await joined()
    try {
      const healthy = async () => (await examine(settings())).get('runner')?.seen === 'running, and healthy'
      await until('a healthy daemon', healthy)
      plane.standingFault = { refuse: 'unauthenticated', detail: 'the credential is not this runner’s' }
      const troubled = async () => (await examine(settings())).get('runner')?.outcome === 'warn'
      await until('a daemon in trouble', troubled)
      expect((await examine(settings())).get('runner')?.seen).toMatch(/^running, and not well: .*credential/)
    } finally {
      await runner.destroy()
    }
  })
})

describe('with the real control plane', () => {
  let controlPlane: ControlPlane
  let tenant: Tenant
  beforeAll(async () => {
    controlPlane = await new ControlPlane().start()
    tenant = await controlPlane.tenant()
  })
  afterAll(() => controlPlane.stop())

  test('a runner at work notices nothing of it, and one that was removed is told so', async () => {
    const env = { RUNNER_EXECUTOR: 'host', RUNNER_MIN_DISK_MB: '0' }
    const daemon = await Daemon.of(controlPlane, tenant, { name: 'patient', env })
    await daemon.online(tenant)
    try {
      await until('a doorbell', () => daemon.log().includes('the doorbell is connected'))
      const settings = {
        ...env,
        CONTROL_PLANE_URL: controlPlane.url,
        RUNNER_POOL_ID: tenant.poolId,
        RUNNER_NAME: 'patient',
        RUNNER_STATE_DIR: daemon.stateDir,
      }
      const found = await examine(settings)
      expect(outcomes(found, ['control plane', 'websocket', ...CHECKS])).toBe(
        'control plane ok, websocket ok, credential ok, membership ok, registration token ok',
      )
      expect(daemon.log()).not.toContain('the doorbell is not connected')
      const { runner_id, credential } = readCredential(daemon.stateDir) ?? {}
      const path = `/runner/v1/pools/${tenant.poolId}/runners/${runner_id}/deregister`
      const headers = { authorization: `Bearer ${credential}` }
      const left = await fetch(`${controlPlane.url}${path}`, { method: 'POST', headers })
      expect(left.status).toBe(204)
      expect((await examine(settings)).get('membership')?.outcome).toBe('fail')
    } finally {
      await daemon.end('SIGKILL')
    }
  })
})
