import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { aJob, anOffer, sessionId } from './support/factories.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  AS_PLAIN_OWNER,
  mountMemory,
  mountMissing,
  plainOwnerMissing,
  unmount,
} from './support/privileges.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

/** What a daemon does about a state directory that is not as one of its own left it. */

const noPlainOwner = plainOwnerMissing()
const noMount = mountMissing()

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
  await plane.stop()
  removeDirectory(directory)
})

function start(
  change: Readonly<Record<string, string>> = {},
  wrapper: readonly string[] = [],
): RunnerProcess {
  const runner = new RunnerProcess({ ...settingsFor(plane, directory, 'host'), ...change }, [], wrapper)
  runners.push(runner)
  return runner
}

async function ready(): Promise<void> {
  await until('a runner that takes work', () => plane.lastSync?.inventory === 'complete')
}

async function registered(): Promise<void> {
  const first = start()
  await ready()
  await first.destroy()
}

/** @returns the boot of a daemon that is gone; its session a goes on until it finds a file `go` */
async function withSession(): Promise<number> {
  const first = start()
  await ready()
  plane.reply = { next_sync_in_ms: 500, lease_ttl_ms: 60_000 }
  const job = aJob({ command: ['/bin/sh', '-c', 'while [ ! -e go ]; do sleep 0.1; done; exit 5'] })
  plane.offer(anOffer('a', { job }))
  await until('a running session', () => plane.lease(sessionId('a'))?.state === 'running')
  const seen = plane.syncs.length
  await until('its confirmation', () => plane.syncs.length > seen + 1)
  await first.destroy()
  return plane.lastSync?.boot ?? 0
}

async function endsWith5(): Promise<void> {
  writeFileSync(join(directory, 'sessions', sessionId('a'), 'go'), '')
  await until('its end', () => plane.exits.has(sessionId('a')))
  expect(plane.exits.get(sessionId('a'))?.exit).toMatchObject({ code: 5, reason: 'exited' })
}

/** One line, which names what is wrong and what to do. */
async function isRefused(runner: RunnerProcess, ...expected: readonly RegExp[]): Promise<void> {
  expect(await runner.ended()).toBe(1)
  expect(runner.stderr.trim().split('\n')).toHaveLength(1)
  for (const part of [/^runner: RUNNER_STATE_DIR: /, ...expected]) expect(runner.stderr).toMatch(part)
}

describe('a credential that is of no use', () => {
  test.each(['', '{"control_plane": "http', '{}'])('"%s" is said to be damaged, and kept', async text => {
    await registered()
    const file = join(directory, 'credential.json')
    writeFileSync(file, text)
    await isRefused(
      start(),
      /credential\.json is damaged/,
      /restore it .*, or remove it and set REGISTRATION_TOKEN/,
    )
    expect(readFileSync(file, 'utf8')).toBe(text)
    expect(plane.registrations).toHaveLength(1)
    rmSync(file)
    plane.allowAnotherRegistration()
    start()
    await until('another registration', () => plane.registrations.length === 2)
  })

  test('one that is no file is said to be unreadable', async () => {
    await registered()
    const file = join(directory, 'credential.json')
    renameSync(file, `${file}.kept`)
    mkdirSync(file)
    await isRefused(start(), /credential\.json cannot be read \(EISDIR/)
  })

  test.skipIf(noPlainOwner !== null)('one of somebody else’s is said with chown and chmod', async () => {
    await registered()
    const file = join(directory, 'credential.json')
    chmodSync(file, 0)
    await isRefused(start({}, AS_PLAIN_OWNER), /cannot be read \(EACCES/, /chown, chmod 600/)
    chmodSync(file, 0o600)
    const boot = plane.lastSync?.boot ?? 0
    start({}, AS_PLAIN_OWNER)
    await until('a sync', () => (plane.lastSync?.boot ?? 0) > boot)
    expect(plane.registrations).toHaveLength(1)
  })
})

describe('a counter of starts that is lost', () => {
  test.each([
    ['damaged', (file: string) => writeFileSync(file, '{"boot": ')],
    ['removed', (file: string) => rmSync(file)],
  ])('because it was %s goes on above the last one, and the session is kept', async (_, lose) => {
    const boot = await withSession()
    lose(join(directory, 'boot.json'))
    const again = start()
    await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
    expect(plane.registrations).toHaveLength(1)
    expect(again.hasEnded()).toBe(false)
    await endsWith5()
  })
})

describe('a journal that is of no use', () => {
  test('an entry that is damaged is named and left, and its session is kept', async () => {
    const boot = await withSession()
    const file = join(directory, 'journal', `${sessionId('a')}.json`)
    writeFileSync(file, '{"kernel": ')
    const again = start()
    await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
    expect(again.logged('journal entries')).toMatchObject({
      files: [file],
      remedy: expect.stringMatching(/remove them/),
    })
    expect(readFileSync(file, 'utf8')).toBe('{"kernel": ')
    await endsWith5()
  })

  test('an entry that cannot be read is named and left, and work is taken', async () => {
    await registered()
    const file = join(directory, 'journal', `${sessionId('b')}.json`)
    mkdirSync(file)
    const again = start()
    await until('the complaint', () => again.logged('journal entries'))
    expect(again.logged('journal entries')).toMatchObject({ files: [file] })
    plane.offer(anOffer('a', { job: aJob({ command: ['/bin/sh', '-c', 'exit 3'] }) }))
    await until('its end', () => plane.exits.get(sessionId('a'))?.exit?.code === 3)
  })

  test.skipIf(noPlainOwner !== null)(
    'a folder that cannot be read ends the daemon before it does anything',
    async () => {
      const boot = await withSession()
      chmodSync(join(directory, 'journal'), 0)
      await isRefused(start({}, AS_PLAIN_OWNER), /EACCES.*\/journal/, /chown, chmod 700/)
      chmodSync(join(directory, 'journal'), 0o700)
      start()
      await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
      await endsWith5()
    },
  )
})

test.each([
  ['last-sync.json', 'a file'],
  ['last-sync.json', 'a folder'],
  ['registration.json', 'a file'],
])('%s, damaged or unreadable as %s, is named and done without', async (name, what) => {
  await registered()
  const file = join(directory, name)
  rmSync(file, { force: true })
  if (what === 'a file') writeFileSync(file, 'no JSON')
  else mkdirSync(file)
  const boot = plane.lastSync?.boot ?? 0
  plane.allowAnotherRegistration()
  const again = start(name === 'registration.json' ? { RUNNER_NAME: 'renamed' } : {})
  await until('the line about it', () => again.logged(name))
  expect(again.logged(name)).toMatchObject({
    level: 'warn',
    msg: expect.stringMatching(/RUNNER_STATE_DIR is not heeded/),
  })
  await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
})

describe('RUNNER_STATE_DIR', () => {
  test('that is a file, or lies below one, is refused', async () => {
    const file = join(directory, 'file')
    writeFileSync(file, 'mine')
    await isRefused(start({ RUNNER_STATE_DIR: file }), /\/file /, /name a directory/)
    await isRefused(start({ RUNNER_STATE_DIR: join(file, 'below') }), /\/file\/below /, /name a directory/)
    expect(readFileSync(file, 'utf8')).toBe('mine')
  })

  test.skipIf(noPlainOwner !== null)('that this user may not write is refused', async () => {
    const shut = join(directory, 'shut')
    mkdirSync(shut, { mode: 0o500 })
    const below = start({ RUNNER_STATE_DIR: join(shut, 'state') }, AS_PLAIN_OWNER)
    await isRefused(below, /shut\/state cannot be used \(EACCES/, /chown/)
    if (process.getuid?.() !== 0) return
    chownSync(shut, 65_534, 65_534)
    await isRefused(start({ RUNNER_STATE_DIR: shut }, AS_PLAIN_OWNER), /shut cannot be used \(EPERM/, /chown/)
  })

  test.skipIf(noMount !== null)('that is mounted read-only is refused', async () => {
    const mount = join(directory, 'mount')
    mkdirSync(mount)
    mountMemory(mount, 'ro,size=1m')
    try {
      await isRefused(start({ RUNNER_STATE_DIR: mount }), /EROFS/, /mounted read-only/)
      await isRefused(start({ RUNNER_STATE_DIR: join(mount, 'state') }), /mounted read-only/)
    } finally {
      unmount(mount)
    }
  })
})

test('sockets left by daemons that were killed while they took the lock are removed, living ones are not', async () => {
  const left = join(directory, 'lock.0123abcd.sock')
  // Bound, and nobody listens: a file does as well, and the lock itself is one left over.
  for (const name of [left, join(directory, 'lock.sock')]) writeFileSync(name, '')
  const alive = createServer()
  await new Promise<void>(resolve => alive.listen(join(directory, 'lock.89abcdef.sock'), resolve))
  start()
  await ready()
  expect(
    readdirSync(directory)
      .filter(name => name.startsWith('lock'))
      .sort(),
  ).toEqual(['lock.89abcdef.sock', 'lock.sock'])
  alive.close()
})
