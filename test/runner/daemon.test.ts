import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { aJob, anOffer, aStop, commandId, runId, sessionId } from './support/factories.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

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
  for (const name of existsSync(join(directory, 'host')) ? readdirSync(join(directory, 'host')) : []) {
    killGroup(join(directory, 'host', name, 'process.json'))
  }
  await plane.stop()
  removeDirectory(directory)
})

function start(change: Readonly<Record<string, string>> = {}): RunnerProcess {
  const runner = new RunnerProcess({ ...settingsFor(plane, directory, 'host'), ...change })
  runners.push(runner)
  return runner
}

function shell(script: string, change: Parameters<typeof aJob>[0] = {}) {
  return aJob({ command: ['/bin/sh', '-c', script], ...change })
}

async function ready(): Promise<void> {
  await until('a runner that takes work', () => plane.lastSync?.inventory === 'complete')
}

async function running(letter: string): Promise<void> {
  await until(`session ${letter} runs`, () => plane.lease(sessionId(letter))?.state === 'running')
}

async function exitOf(letter: string) {
  await until(`session ${letter} has ended`, () => plane.exits.has(sessionId(letter)))
  return plane.exits.get(sessionId(letter))?.exit
}

describe('joining', () => {
  test('a lost reply to the registration is no second registration', async () => {
    plane.registerFaults = ['lose_reply']
    start()
    await ready()
    expect(plane.registrations).toHaveLength(2)
    const [first, second] = plane.registrations
    expect(second).toEqual(first)
  })

  test('a daemon killed after the registration it never heard of registers as the same', async () => {
    plane.registerFaults = ['lose_reply', 'hang']
    const first = start()
    await until('a repeated registration', () => plane.registerFaults.length === 0)
    await first.destroy()
    start()
    await ready()
    expect(plane.registrations.at(-1)?.boot_id).toBe(plane.registrations[0]?.boot_id)
  })

  test('labels that were changed over a restart reach the pool without another registration', async () => {
    const first = start({ RUNNER_LABELS: 'zone=east' })
    await ready()
    expect(plane.lastSync?.labels).toEqual({ zone: 'east' })
    first.kill('SIGTERM')
    expect(await first.ended()).toBe(0)
    start({ RUNNER_LABELS: 'zone=west,disk=fast' })
    await until('a sync with the new labels', () => plane.lastSync?.labels?.zone === 'west')
    expect(plane.lastSync?.labels).toEqual({ zone: 'west', disk: 'fast' })
    expect(plane.registrations).toHaveLength(1)
    expect(plane.registrations[0]?.labels).toEqual({ zone: 'east' })
  })

  test('the credential is private, stored whole, and used by the next daemon', async () => {
    const first = start()
    await ready()
    const file = join(directory, 'credential.json')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    first.kill('SIGTERM')
    expect(await first.ended()).toBe(0)
    const boots = plane.lastSync?.boot ?? 0
    start()
    await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boots)
    expect(plane.registrations).toHaveLength(1)
  })

  test('a refused token is said with its remedy, and the process stays up', async () => {
    plane.registerFaults = [{ refuse: 'token_expired' }]
    const runner = start()
    await until('the line about the token', () => runner.logged('registration failed'))
    expect(runner.logged('token_expired')).toMatchObject({
      level: 'error',
      remedy: expect.stringMatching(/new registration token/),
    })
    expect(runner.hasEnded()).toBe(false)
  })

  test('another token in the file is used at once, however long the refused one was to be left alone', async () => {
    const file = join(directory, '..', `${basename(directory)}.token`)
    onTestFinished(() => removeDirectory(file))
    writeFileSync(file, `${plane.token}x`)
    const runner = start({ REGISTRATION_TOKEN: '', REGISTRATION_TOKEN_FILE: file })
    await until('the refusal', () => runner.logged('registration failed'))
    writeFileSync(file, plane.token)
    await ready()
  })

  test('an unreachable control plane is said with what to check, and found when it is back', async () => {
    plane.registerFaults = ['cut']
    const runner = start()
    await ready()
    expect(runner.logged('registration failed')).toMatchObject({
      error: expect.stringMatching(/CONTROL_PLANE_URL/),
    })
  })

  test('a second daemon on the same state directory is refused', async () => {
    start()
    await ready()
    const second = start()
    expect(await second.ended()).toBe(1)
    expect(second.stderr).toMatch(/RUNNER_STATE_DIR: .* in use/)
  })

  test('a daemon that was killed leaves no lock behind', async () => {
    const first = start()
    await ready()
    await first.destroy()
    const boot = plane.lastSync?.boot ?? 0
    start()
    await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
  })
})

describe('running', () => {
  test('a run is done and reported with its exit code, and nothing of it is left', async () => {
    start()
    await ready()
    plane.offer(anOffer('a', { job: shell('exit 3') }))
    expect(await exitOf('a')).toMatchObject({ code: 3, reason: 'exited' })
    await until('an empty inventory', () => plane.lastSync?.leases.length === 0)
    expect(readdirSync(join(directory, 'journal'))).toEqual([])
    expect(readdirSync(join(directory, 'sessions'))).toEqual([])
    expect(readdirSync(join(directory, 'host'))).toEqual([])
  })

  test('of many runs that end while others run, nothing is left either', async () => {
    const letters = [...'0123456789ab']
    start({ MAX_CONCURRENCY: '6' })
    await ready()
    for (const letter of letters)
      plane.offer(anOffer(letter, { job: shell('exit 0'), offer_ttl_ms: 600_000 }))
    await until('all ends', () => plane.exits.size === letters.length)
    const left = () =>
      ['journal', 'sessions', 'host', 'logs'].flatMap(name => readdirSync(join(directory, name)))
    await until('nothing is left', () => left().length === 0)
  })

  test('a sync whose reply was lost is repeated with a higher seq, and the run is done once', async () => {
    start()
    await ready()
    plane.syncFaults = ['lose_reply', 'lose_reply', 'lose_reply']
    const count = join(directory, 'count')
    plane.offer(anOffer('a', { job: shell(`echo x >> ${count}`) }))
    await exitOf('a')
    const seqs = plane.syncs.map(sync => sync.seq)
    expect(new Set(seqs).size).toBe(seqs.length)
    expect(readFileSync(count, 'utf8')).toBe('x\n')
  })

  test('a reply that is not the contract’s names the field and is asked for again', async () => {
    const runner = start()
    await ready()
    plane.syncFaults = [{ body: JSON.stringify({ stale: 'maybe' }) }]
    plane.ring()
    await until('the complaint', () => runner.logged('sync failed'))
    expect(runner.logged('sync failed')?.error).toMatch(/server_time|stale/)
    const seen = plane.syncs.length
    await until('the next sync', () => plane.syncs.length > seen)
  })

  test('syncs that fail in a row are said once, and their end with how many there were', async () => {
    const runner = start()
    await ready()
    plane.syncFaults = Array.from({ length: 4 }, () => ({ refuse: 'overloaded' }) as const)
    plane.ring()
    await until('it works again', () => runner.logged('takes syncs again'))
    expect(runner.logged('takes syncs again')).toMatchObject({ failures: 4, since: expect.any(String) })
    expect(runner.log.filter(({ msg }) => msg?.startsWith('sync failed'))).toHaveLength(1)
  })

  test('a command that this release does not know costs no session its lease, and is said once', async () => {
    plane.reply = { next_sync_in_ms: 200, lease_ttl_ms: 2000 }
    const runner = start()
    await ready()
    plane.offer(anOffer('a', { job: shell('sleep 5; exit 6') }))
    await running('a')
    plane.command({ ...aStop('a'), type: 'paint_it_blue' as 'stop_session' })
    expect(await exitOf('a')).toMatchObject({ code: 6, reason: 'exited' })
    const lines = runner.log.filter(line => line.msg?.includes('not understood'))
    expect(lines).toMatchObject([{ ignored: [expect.stringMatching(/^commands\.0\.type/)] }])
  })

  test('a stop order ends a command that ignores SIGTERM, and is acknowledged after it', async () => {
    start()
    await ready()
    plane.offer(anOffer('a', { job: shell('trap "" TERM; while :; do sleep 0.1; done') }))
    await running('a')
    plane.command(aStop('a'))
    expect(await exitOf('a')).toMatchObject({ code: 137, reason: 'stopped' })
    await until('the ack', () => plane.commands.length === 0)
    const acked = plane.syncs.find(sync => sync.acks.includes(commandId('a')))
    expect(acked?.leases.every(lease => lease.state === 'exited')).toBe(true)
  })

  test('a run that takes too long is timed out', async () => {
    start()
    await ready()
    plane.offer(anOffer('a', { job: shell('exec sleep 600', { timeout_seconds: 1 }) }))
    expect(await exitOf('a')).toMatchObject({ code: 143, reason: 'timed_out' })
  })

  test('the job has its own variables and none of the runner’s', async () => {
    const ca = join(directory, 'ca.pem')
    writeFileSync(ca, rootCertificates[0] ?? '')
    const RUNNER_JOB_HTTPS_PROXY = 'http://proxy.example:3128'
    const network = { RUNNER_JOB_HTTPS_PROXY, RUNNER_JOB_NO_PROXY: '.local', RUNNER_JOB_CA_FILE: ca }
    start({ HTTPS_PROXY: '', SOME_SECRET: 'canary', ...network })
    await ready()
    const seen = join(directory, 'seen')
    plane.offer(anOffer('a', { job: shell(`env > ${seen}`, { env: { MINE: 'yes' } }) }))
    await exitOf('a')
    const env = readFileSync(seen, 'utf8')
    expect(env).toContain('MINE=yes')
    expect(env).toContain(`CERTYN_SESSION_ID=${sessionId('a')}`)
    expect(env).toContain(`CERTYN_RUN_ID=${runId('a')}`)
    for (const name of ['HTTPS_PROXY', 'http_proxy'])
      expect(env).toContain(`${name}=${RUNNER_JOB_HTTPS_PROXY}`)
    expect(env).toContain('NO_PROXY=.local')
    expect(env).toContain(`NODE_EXTRA_CA_CERTS=${ca}`)
    expect(env).not.toMatch(/canary|REGISTRATION_TOKEN/)
  })
})

describe('the lease', () => {
  test('ends on this side although the server hangs, and the run’s process with it', async () => {
    start()
    await ready()
    plane.offer(anOffer('a', { job: shell('exec sleep 600') }))
    await running('a')
    const pid = commandPid('a')
    plane.standingFault = 'hang'
    await until('the command is stopped', () => !isRunning(pid))
    plane.standingFault = null
    expect(await exitOf('a')).toMatchObject({
      reason: 'stopped',
      message: expect.stringMatching(/lease ran out/),
    })
  })
})

describe('a daemon that was stopped by a signal', () => {
  test('past its lease ends the session when it goes on, whatever the server says by then', async () => {
    const runner = start()
    await ready()
    plane.offer(anOffer('a', { job: shell('exec sleep 600') }))
    await running('a')
    runner.kill('SIGSTOP')
    // The lease lasts 5 s and is counted on a clock that goes on meanwhile.
    await new Promise(resolve => setTimeout(resolve, 6000))
    runner.kill('SIGCONT')
    expect(await exitOf('a')).toMatchObject({
      reason: 'stopped',
      message: expect.stringMatching(/lease ran out/),
    })
  })
})

describe('being refused', () => {
  test.each([
    ['unauthenticated', /registration token/],
    ['unsupported_protocol', /release/],
    ['boot_superseded', /state directory of its own/],
  ] as const)('%s: sessions are stopped, the process stays, idle and unhealthy', async (code, remedy) => {
    const runner = start()
    await ready()
    plane.offer(anOffer('a', { job: shell('exec sleep 600') }))
    await running('a')
    const pid = commandPid('a')
    plane.standingFault = { refuse: code }
    plane.ring()
    await until('the session is stopped', () => !isRunning(pid))
    await until('the explanation', () => runner.logged('may no longer speak'))
    expect(runner.logged('may no longer speak')?.remedy).toMatch(remedy)
    expect(runner.hasEnded()).toBe(false)
    const health = new RunnerProcess({ ...settingsFor(plane, directory, 'host') }, ['health'])
    await until('the health file', () => readFileSync(join(directory, 'health.json'), 'utf8').includes(code))
    expect(await health.ended()).toBe(1)
  })

  test('a removed runner that is given another token registers again', async () => {
    const first = start()
    await ready()
    await first.destroy()
    plane.credentials.push('revoked')
    const again = start({ REGISTRATION_TOKEN: `${plane.token}x` })
    await until('a registration attempt', () => again.logged('registering anew'))
  })
})

test.each([
  ['1000000000', true],
  ['0', false],
])(
  'with RUNNER_MIN_DISK_MB %s a sync says disk_low %s, and the log what to do',
  async (RUNNER_MIN_DISK_MB, expected) => {
    const runner = start({ RUNNER_MIN_DISK_MB })
    await ready()
    expect(plane.lastSync?.health?.disk_low).toBe(expected)
    const said = {
      folder: directory,
      free_mb: expect.any(Number),
      RUNNER_MIN_DISK_MB: Number(RUNNER_MIN_DISK_MB),
      remedy: expect.stringContaining('or set RUNNER_MIN_DISK_MB lower'),
    }
    const lines = runner.log.filter(({ msg }) => msg?.includes('takes no new work'))
    expect(lines).toEqual(expected ? [expect.objectContaining(said)] : [])
  },
)

describe('the doorbell', () => {
  test('a ring is followed by a sync long before the interval', async () => {
    plane.reply = { next_sync_in_ms: 600_000, lease_ttl_ms: 5000 }
    start()
    await ready()
    await until('a doorbell', () => plane.doorbellsOpened > 0)
    plane.offer(anOffer('a', { job: shell('true') }))
    expect(await exitOf('a')).toMatchObject({ code: 0 })
  })

  test('one that is cut is dialled again, with a sync in between', async () => {
    plane.reply = { next_sync_in_ms: 600_000, lease_ttl_ms: 5000 }
    start()
    await ready()
    await until('a doorbell', () => plane.doorbellsOpened === 1)
    const seen = plane.syncs.length
    plane.cutDoorbells()
    await until('a sync', () => plane.syncs.length > seen)
    await until('another doorbell', () => plane.doorbellsOpened === 2)
  })

  test('one that falls silent is noticed by its pong', async () => {
    plane.reply = { next_sync_in_ms: 600_000, lease_ttl_ms: 5000 }
    start()
    await ready()
    await until('a doorbell', () => plane.doorbellsOpened === 1)
    const seen = plane.syncs.length
    plane.muteDoorbells()
    await until('another doorbell', () => plane.doorbellsOpened > 1)
    expect(plane.syncs.length).toBeGreaterThan(seen)
  })
})

describe('stopping the daemon', () => {
  test('SIGTERM says leaving, leaves the session running, and the next daemon adopts it', async () => {
    const first = start()
    await ready()
    plane.offer(anOffer('a', { job: shell('while [ ! -e go ]; do sleep 0.1; done; exit 5') }))
    await running('a')
    const pid = commandPid('a')
    first.kill('SIGTERM')
    expect(await first.ended()).toBe(0)
    expect(plane.lastSync).toMatchObject({ leaving: true, draining: true })
    // Never the one without the other: a runner that drains stays, one that leaves is gone.
    const draining = plane.syncs.filter(sync => sync.draining && sync.inventory === 'complete')
    expect(draining.every(sync => sync.leaving)).toBe(true)
    expect(isRunning(pid)).toBe(true)
    start()
    await until('the adoption', () => plane.lease(sessionId('a'))?.notices?.includes('adopted'))
    await import('node:fs').then(fs =>
      fs.writeFileSync(join(directory, 'sessions', sessionId('a'), 'go'), ''),
    )
    expect(await exitOf('a')).toMatchObject({ code: 5, reason: 'exited' })
  })

  test('a second signal stops the sessions and reports them', async () => {
    const runner = start()
    await ready()
    plane.offer(anOffer('a', { job: shell('exec sleep 600') }))
    await running('a')
    runner.kill('SIGTERM')
    await until('leaving', () => runner.logged('leaving'))
    await new Promise(resolve => setTimeout(resolve, 1100))
    runner.kill('SIGTERM')
    expect(await runner.ended()).toBe(0)
    expect(await exitOf('a')).toMatchObject({ reason: 'stopped' })
    expect(readdirSync(join(directory, 'journal'))).toEqual([])
  })

  test('a daemon killed while its session ended reports the result when it is back', async () => {
    const first = start()
    await ready()
    plane.offer(anOffer('a', { job: shell('while [ ! -e go ]; do sleep 0.1; done; exit 9') }))
    await running('a')
    const pid = commandPid('a')
    await first.destroy()
    await import('node:fs').then(fs =>
      fs.writeFileSync(join(directory, 'sessions', sessionId('a'), 'go'), ''),
    )
    await until('the command has ended', () => !isRunning(pid))
    start()
    expect(await exitOf('a')).toMatchObject({ code: 9, reason: 'exited' })
  })
})

test('the health check knows a daemon that is well from one that is gone', async () => {
  const runner = start()
  await ready()
  await until('a healthy daemon', () => readFileSync(join(directory, 'health.json'), 'utf8').includes('"ok"'))
  expect(await new RunnerProcess(settingsFor(plane, directory, 'host'), ['health']).ended()).toBe(0)
  await runner.destroy()
  const empty = temporaryDirectory()
  expect(await new RunnerProcess(settingsFor(plane, empty, 'host'), ['health']).ended()).toBe(1)
  removeDirectory(empty)
})

test('a credential that is seven days old is replaced, and the new one is stored before it is used', async () => {
  const first = start()
  await ready()
  await first.destroy()
  const file = join(directory, 'credential.json')
  const stored = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...stored, obtained_at_ms: Date.now() - 8 * 24 * 3_600_000 }))
  start()
  await until(
    'a new credential',
    () => JSON.parse(readFileSync(file, 'utf8')).credential !== stored.credential,
  )
  const seen = plane.syncs.length
  await until('a sync with it', () => plane.syncs.length > seen)
  expect(JSON.parse(readFileSync(file, 'utf8')).credential).toBe(plane.credentials.at(-1))
})

test('no secret is in any line of the log', async () => {
  const runner = start({ LOG_LEVEL: 'trace' })
  await ready()
  plane.offer(anOffer('a', { job: shell('true', { env: { PASSWORD: 'canary-in-env' } }) }))
  await exitOf('a')
  const log = JSON.stringify(runner.log) + runner.stderr
  for (const secret of [plane.token, ...plane.credentials, 'canary-in-env']) expect(log).not.toContain(secret)
})

function commandPid(letter: string): number {
  const file = join(directory, 'host', sessionId(letter), 'process.json')
  return JSON.parse(readFileSync(file, 'utf8')).command.pid
}

function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Commands of this test alone, by the pids it wrote down itself. */
function killGroup(file: string): void {
  try {
    process.kill(-JSON.parse(readFileSync(file, 'utf8')).command.pid, 'SIGKILL')
  } catch {
    // It has ended, or never began.
  }
}
