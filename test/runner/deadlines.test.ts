import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hostId } from '../../runner/daemon/engine-setup.ts'
import { installationId } from '../../runner/daemon/runner-identity.ts'
import { aJob, anEntry, anOffer, sessionId } from './support/factories.ts'
import { FakeControlPlane, POOL } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

/** A daemon that cannot get into its pool, for whatever reason, and what an earlier one left to it. */

let plane: FakeControlPlane
let directory: string
let runners: RunnerProcess[]

beforeEach(async () => {
  plane = await FakeControlPlane.start()
  directory = temporaryDirectory()
  runners = []
})

afterEach(async () => {
  for (const runner of runners) await runner.destroy()
  const host = join(directory, 'host')
  for (const name of existsSync(host) ? readdirSync(host) : []) killGroup(name)
  await plane.stop()
  removeDirectory(directory)
})

function start(change: Readonly<Record<string, string>> = {}): RunnerProcess {
  const runner = new RunnerProcess({ ...settingsFor(plane, directory, 'host'), ...change })
  runners.push(runner)
  return runner
}

async function ready(): Promise<void> {
  await until('a runner that takes work', () => plane.lastSync?.inventory === 'complete')
}

/** @returns the pid of a command that runs on although its daemon is gone */
async function orphan(): Promise<number> {
  const first = start()
  await ready()
  plane.offer(anOffer('a', { job: aJob({ command: ['/bin/sh', '-c', 'exec sleep 600'] }) }))
  await until('a running session', () => plane.lease(sessionId('a'))?.state === 'running')
  const seen = plane.syncs.length
  await until('its confirmation', () => plane.syncs.length > seen + 1)
  await first.destroy()
  return commandPid(sessionId('a'))
}

function healthFile(): string {
  return readFileSync(join(directory, 'health.json'), 'utf8')
}

describe('sessions of an earlier process end at their deadline', () => {
  test('while the registration is refused', async () => {
    // The next daemon has to be refused before it is over, however long it takes to start.
    plane.reply = { next_sync_in_ms: 500, lease_ttl_ms: 15_000 }
    const pid = await orphan()
    rmSync(join(directory, 'credential.json'))
    plane.registerFaults = Array.from({ length: 100 }, () => ({ refuse: 'token_used_up' }) as const)
    const again = start()
    await until('the refusal', () => again.logged('token_used_up'))
    expect(isRunning(pid)).toBe(true)
    await until('the command is stopped', () => !isRunning(pid))
    expect(again.hasEnded()).toBe(false)
    expect(plane.exits.size).toBe(0)
  })

  test('while the control plane is away, and the end is reported once it is back', async () => {
    const pid = await orphan()
    rmSync(join(directory, 'credential.json'))
    plane.registerFaults = Array.from({ length: 8 }, () => 'cut' as const)
    const again = start({ REGISTRATION_TOKEN: '', REGISTRATION_TOKEN_FILE: join(directory, 'token') })
    await until('the command is stopped', () => !isRunning(pid))
    await until('the complaint', () => again.logged('no registration token to register with'))
    expect(again.logged('no registration token to register with')?.error).toMatch(/ENOENT/)
    plane.registerFaults = []
    // The token of this pool is used up, except for the registration that it was used for.
    plane.allowAnotherRegistration()
    writeFileSync(join(directory, 'token'), `${plane.token}\n`)
    await until('the report', () => plane.exits.has(sessionId('a')))
    expect(plane.exits.get(sessionId('a'))?.exit).toMatchObject({
      reason: 'stopped',
      message: expect.stringMatching(/lease ran out/),
    })
  })

  test('before a daemon without any token ends', async () => {
    const pid = await orphan()
    rmSync(join(directory, 'credential.json'))
    const again = start({ REGISTRATION_TOKEN: '' })
    expect(await again.ended()).toBe(1)
    expect(isRunning(pid)).toBe(false)
    expect(again.stderr).toMatch(/REGISTRATION_TOKEN: is required/)
  })

  test('before a daemon whose credential is damaged ends', async () => {
    const pid = await orphan()
    writeFileSync(join(directory, 'credential.json'), '')
    const again = start()
    expect(await again.ended()).toBe(1)
    expect(isRunning(pid)).toBe(false)
    expect(again.stderr).toMatch(/credential\.json is damaged/)
    expect(plane.registrations).toHaveLength(1)
  })

  test('while nothing can be stored, which is said with its remedy and mended without a restart', async () => {
    const pid = await orphan()
    const boot = plane.lastSync?.boot ?? 0
    const file = join(directory, 'boot.json')
    renameSync(file, join(directory, 'boot.kept'))
    mkdirSync(file)
    const again = start()
    await until('the command is stopped', () => !isRunning(pid))
    await until('the complaint', () => again.logged('cannot be stored'))
    expect(again.logged('cannot be stored')).toMatchObject({
      level: 'error',
      remedy: expect.stringMatching(/free space/),
    })
    expect(healthFile()).toContain('cannot be stored in RUNNER_STATE_DIR')
    rmdirSync(file)
    renameSync(join(directory, 'boot.kept'), file)
    await until('a sync', () => (plane.lastSync?.boot ?? 0) > boot)
    expect(again.stderr).toBe('')
  })

  test('when the credential is refused and the token file cannot be read', async () => {
    const pid = await orphan()
    plane.credentials.push('revoked')
    const again = start({ REGISTRATION_TOKEN: '', REGISTRATION_TOKEN_FILE: join(directory, 'absent') })
    await until('the session is stopped', () => !isRunning(pid))
    await until('the explanation', () => again.logged('may no longer speak'))
    expect(again.logged('no other registration token')?.error).toMatch(/ENOENT/)
    expect(again.hasEnded()).toBe(false)
  })
})

test('a daemon that no longer knows its containers’ name touches none of them', async () => {
  const first = start()
  await ready()
  await first.destroy()
  writeFileSync(join(directory, 'credential.json'), '')
  // There is no Engine: a daemon that went on would wait for it.
  const again = start({
    RUNNER_EXECUTOR: 'docker',
    RUNNER_NAME: '',
    DOCKER_HOST: `unix://${directory}/none.sock`,
  })
  expect(await again.ended()).toBe(1)
  expect(again.stderr).toMatch(/credential\.json is damaged/)
})

describe('told to leave before it is in its pool', () => {
  const refused = Array.from({ length: 100 }, () => ({ refuse: 'token_used_up' }) as const)

  test.each([
    ['the registration is refused', refused, {}, 'token_used_up'],
    ['the control plane is away', Array.from({ length: 100 }, () => 'cut' as const), {}, 'trying again'],
    ['the registration has no answer', ['hang' as const], {}, 'starting'],
    ['there is no token', [], { REGISTRATION_TOKEN: '', REGISTRATION_TOKEN_FILE: '/none' }, 'looking again'],
  ])('while %s, the daemon ends at once and says so', async (_, faults, change, waiting) => {
    plane.registerFaults = [...faults]
    const runner = start(change)
    const asked = () => faults.length === 0 || plane.registerFaults.length < faults.length
    await until('the wait', () => runner.logged(waiting) && asked())
    runner.kill('SIGTERM')
    expect(await runner.ended()).toBe(0)
    expect(runner.logged('leaving')).toMatchObject({ signal: 'SIGTERM' })
    expect(runner.log.at(-1)).toMatchObject({ msg: 'stopped' })
    expect(runner.stderr).toBe('')
  })

  test('it leaves an earlier daemon’s session running', async () => {
    plane.reply = { next_sync_in_ms: 500, lease_ttl_ms: 120_000 }
    const pid = await orphan()
    rmSync(join(directory, 'credential.json'))
    plane.registerFaults = [...refused]
    const again = start()
    await until('the refusal', () => again.logged('token_used_up'))
    again.kill('SIGTERM')
    expect(await again.ended()).toBe(0)
    expect(isRunning(pid)).toBe(true)
  })

  test.each([
    ['waits to register', 0, () => rmSync(join(directory, 'credential.json'))],
    ['ends for a damaged credential', 1, () => writeFileSync(join(directory, 'credential.json'), '')],
  ])('a second signal while it %s stops the session', async (_, code, spoil) => {
    plane.reply = { next_sync_in_ms: 500, lease_ttl_ms: 120_000 }
    const pid = await orphan()
    spoil()
    plane.registerFaults = [...refused]
    const again = start()
    await until('the wait', () => again.logged('token_used_up') ?? again.logged('the runner ends as soon as'))
    // A second signal counts from 1 s after the first; what comes before is taken for an echo.
    const signals = setInterval(() => again.kill('SIGTERM'), 100)
    expect(await again.ended()).toBe(code)
    clearInterval(signals)
    expect(again.logged('second signal')).toMatchObject({ level: 'warn' })
    expect(isRunning(pid)).toBe(false)
  })
})

test('of a daemon that was killed while it created a session nothing is left', async () => {
  const first = start()
  await ready()
  await first.destroy()
  const installation_id = installationId(POOL, settingsFor(plane, directory, 'host').RUNNER_NAME, hostId())
  const entry = { kernel: '', ...anEntry('a', { step: 'creating', installation_id }) }
  const file = join(directory, 'journal', `${sessionId('a')}.json`)
  writeFileSync(file, JSON.stringify(entry))
  for (const part of ['sessions', 'host']) mkdirSync(join(directory, part, sessionId('a')))
  start()
  await until('the report', () => plane.exits.has(sessionId('a')))
  expect(plane.exits.get(sessionId('a'))?.exit?.reason).toBe('engine_error')
  const left = () => ['journal', 'sessions', 'host'].flatMap(name => readdirSync(join(directory, name)))
  await until('nothing is left', () => left().length === 0)
})

test('what a runner left under another name ends once it is registered, and nobody is told of it', async () => {
  const pid = await orphan()
  const boot = plane.lastSync?.boot ?? 0
  plane.allowAnotherRegistration()
  // Long past the test: only the registration can end it.
  const file = join(directory, 'last-sync.json')
  const lastSync = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...lastSync, lease_ttl_ms: 3_600_000 }))
  start({ RUNNER_NAME: 'renamed' })
  await until('the command is stopped', () => !isRunning(pid))
  await until('nothing is remembered', () => readdirSync(join(directory, 'journal')).length === 0)
  const since = plane.syncs.filter(sync => sync.boot > boot)
  expect(since.flatMap(sync => sync.leases)).toEqual([])
})

describe('what a registration is known by', () => {
  test('a credential that cannot be stored at once is not asked for again', async () => {
    const file = join(directory, 'credential.json')
    plane.registerFaults = ['cut']
    const runner = start()
    await until('a failure', () => runner.logged('registration failed'))
    mkdirSync(file)
    await until('the complaint', () => runner.logged('the credential cannot be stored'))
    rmdirSync(file)
    await ready()
    expect(plane.registrations).toHaveLength(1)
  })

  test('each process that registers anew does so under an id of its own', async () => {
    const first = start()
    await ready()
    await first.destroy()
    const [registered] = plane.registrations
    // As left by a process that was killed between storing the credential and forgetting the registration.
    const pending = JSON.stringify({ boot_id: registered?.boot_id, instead_of: null })
    writeFileSync(join(directory, 'registration.json'), pending)
    const boot = plane.lastSync?.boot ?? 0
    const second = start()
    await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
    expect(plane.lastSync?.boot_id).not.toBe(registered?.boot_id)
    await second.destroy()
    plane.allowAnotherRegistration()
    start({ RUNNER_NAME: 'renamed' })
    await until('another registration', () => plane.registrations.length === 2)
    expect(plane.registrations[1]?.boot_id).not.toBe(registered?.boot_id)
  })

  test('a lost reply and a crash under another name are still one registration', async () => {
    const first = start()
    await ready()
    await first.destroy()
    plane.allowAnotherRegistration()
    plane.registerFaults = ['lose_reply', 'hang']
    const renamed = start({ RUNNER_NAME: 'renamed' })
    await until('a repeated registration', () => plane.registerFaults.length === 0)
    await renamed.destroy()
    start({ RUNNER_NAME: 'renamed' })
    await until('another registration', () => plane.registrations.length === 3)
    const [, lost, repeated] = plane.registrations
    expect(repeated?.boot_id).toBe(lost?.boot_id)
    expect(lost?.boot_id).not.toBe(plane.registrations[0]?.boot_id)
  })

  test('without RUNNER_NAME the name it was registered with is kept', async () => {
    const first = start({ RUNNER_NAME: `not-${hostname()}` })
    await ready()
    await first.destroy()
    const boot = plane.lastSync?.boot ?? 0
    start({ RUNNER_NAME: '' })
    await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
    expect(plane.registrations).toHaveLength(1)
  })
})

test('a runner that cannot list its sessions is unhealthy, however well its syncs go', async () => {
  start()
  await ready()
  await until('a healthy daemon', () => healthFile().includes('"ok"'))
  const host = join(directory, 'host')
  rmdirSync(host)
  writeFileSync(host, '')
  plane.offer(anOffer('a', { job: aJob({ command: ['/bin/true'] }) }))
  await until('an unhealthy daemon', () => healthFile().includes('cannot be listed'))
  const seen = plane.syncs.length
  await until('more syncs', () => plane.syncs.length > seen + 2)
  expect(healthFile()).toContain('cannot be listed')
  rmSync(host)
  await until('a healthy daemon', () => healthFile().includes('"ok"'))
})

function commandPid(name: string): number {
  return JSON.parse(readFileSync(join(directory, 'host', name, 'process.json'), 'utf8')).command.pid
}

function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

function killGroup(name: string): void {
  try {
    process.kill(-commandPid(name), 'SIGKILL')
  } catch {
    // It has ended, or never began.
  }
}
