import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { examine, outcomes } from './support/doctor.ts'
import { FakeControlPlane, POOL } from './support/fake-control-plane.ts'
import {
  AS_PLAIN_OWNER,
  mountMemory,
  mountMissing,
  plainOwnerMissing,
  unmount,
} from './support/privileges.ts'
import { RunnerProcess, removeDirectory, settingsFor, temporaryDirectory } from './support/runner-process.ts'

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

function settings(change: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { ...settingsFor(plane, directory, 'host'), ...change }
}

async function doctor(
  change: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
  wrapper: readonly string[] = [],
): Promise<{ code: number | null; text: string }> {
  const runner = new RunnerProcess(settings(change), ['doctor', ...args], wrapper)
  const code = await runner.ended()
  return { code, text: runner.log.map(line => line.msg ?? JSON.stringify(line)).join('\n') }
}

describe('the command', () => {
  test('passes on a sound host, leaves it as it was and registers nothing', async () => {
    const { code, text } = await doctor({ RUNNER_STATE_DIR: `${directory}/not/yet` })
    expect(text).not.toMatch(/^(?:FAIL|warn)/m)
    for (const name of [
      'settings',
      'state directory',
      'DNS',
      'TLS',
      'clock',
      'websocket',
      'registration token',
    ]) {
      expect(text).toContain(`\nok    ${name}: `.trimStart())
    }
    expect(text).toMatch(/^nothing failed: 0 failed, 0 to look at, \d+ ok, \d skipped$/m)
    expect(code).toBe(0)
    expect(readdirSync(directory)).toEqual([])
    expect(plane.registrations).toEqual([])
  })

  test('ends with 1 when something failed, and says where to begin and what to do', async () => {
    const { code, text } = await doctor({ CONTROL_PLANE_URL: 'http://127.0.0.1:1' })
    expect(text).toMatch(/^FAIL {2}connection: .*\n {6}-> nothing listens there/m)
    expect(text).toMatch(/^- {5}clock: skipped \(needs: control plane\)$/m)
    expect(text).toContain('1 failed, ')
    expect(text).toMatch(/; begin with: connection$/m)
    expect(code).toBe(1)
  })

  test('ends with 0 when there are only warnings', async () => {
    const { code, text } = await doctor({ RUNNER_MIN_DISC_MB: '0' })
    expect(text).toMatch(/^warn {2}settings: .*RUNNER_MIN_DISC_MB \(RUNNER_MIN_DISK_MB\?\)$/m)
    expect(code).toBe(0)
  })

  test('prints one document with --json, and the same exit code', async () => {
    const { code, text } = await doctor({ RUNNER_MIN_DISK_MB: '999999999' }, ['--json'])
    const report = JSON.parse(text)
    expect(report).toMatchObject({ ok: false, counts: { fail: 1 }, version: expect.any(String) })
    expect(report.checks).toContainEqual({
      name: 'disk',
      outcome: 'fail',
      seen: expect.stringMatching(/^\d+ MB free, under RUNNER_MIN_DISK_MB 999999999/),
      remedy: expect.stringContaining('free space'),
    })
    expect(report.checks).toContainEqual(
      expect.objectContaining({ name: 'membership', outcome: 'skipped', remedy: null }),
    )
    expect(code).toBe(1)
  })

  test.each([[['--imgae', 'x']], [['x']], [['--image']], [['--image', '']]])(
    'ends with 2 and its usage on %j',
    async args => {
      const runner = new RunnerProcess(settings(), ['doctor', ...args])
      expect(await runner.ended()).toBe(2)
      expect(runner.stderr).toContain('usage: runner doctor [--image IMAGE] [--json]')
      expect(runner.log).toEqual([])
    },
  )

  test('never prints a secret, however it was set', async () => {
    const secrets = ['hunter2pass', 'not-a-token-at-all', plane.token.slice(0, -1)]
    for (const token of secrets) {
      const { text } = await doctor({
        REGISTRATION_TOKEN: token,
        REGISTRATION_TOKEN_FILE: `/nowhere/${token}`,
        RUNNER_POLICY_FILE: `/nowhere/${token}`,
        HTTPS_PROXY: `http://someone:${secrets[0]}@127.0.0.1:1`,
        CONTROL_PLANE_URL: 'https://cp.test',
      })
      for (const secret of ['someone', ...secrets]) expect(text).not.toContain(secret)
    }
  })
})

describe('settings', () => {
  test.each([
    [
      'RUNNER_POOL_ID',
      'tok_01jd0000000000000000000000',
      /RUNNER_POOL_ID: expected an id that starts with pol_/,
    ],
    ['RUNNER_POOL_ID', `${POOL}0`, /RUNNER_POOL_ID: expected/],
    ['CONTROL_PLANE_URL', 'http://cp.example', /CONTROL_PLANE_URL: expected https/],
    ['RUNNER_POLICY_FILE', '/no/such/file', /RUNNER_POLICY_FILE: .*cannot be read/],
  ])('that are wrong fail, and nothing else is made: %s=%s', async (name, value, seen) => {
    const found = await examine(settings({ [name]: value }))
    expect(found.get('settings')).toMatchObject({ outcome: 'fail', seen: expect.stringMatching(seen) })
    const others = [...found.values()].filter(one => one.name !== 'settings')
    expect(new Set(others.map(one => one.outcome))).toEqual(new Set(['skipped']))
    expect(found.get('DNS')?.seen).toBe('skipped (needs: settings)')
  })
})

describe('the state directory', () => {
  test('that cannot be made fails, and what needs it is skipped', async () => {
    const found = await examine(settings({ RUNNER_STATE_DIR: '/proc/nowhere/at/all' }))
    expect(outcomes(found, ['state directory', 'disk', 'credential', 'DNS'])).toBe(
      'state directory fail, disk skipped, credential skipped, DNS ok',
    )
    expect(found.get('state directory')?.remedy).toContain('mount a writable one')
  })

  test('whose place is a file fails', async () => {
    writeFileSync(join(directory, 'file'), '')
    const found = await examine(settings({ RUNNER_STATE_DIR: `${directory}/file` }))
    expect(found.get('state directory')).toMatchObject({
      outcome: 'fail',
      remedy: expect.stringMatching(/file/),
    })
  })

  test.skipIf(plainOwnerMissing() !== null)('that this user may not write fails', async () => {
    chmodSync(directory, 0o500)
    const { code, text } = await doctor({}, [], AS_PLAIN_OWNER)
    expect(text).toMatch(/^FAIL {2}state directory: .*EACCES.*\n {6}-> let this user own and write it/m)
    expect(code).toBe(1)
  })

  test('that others may read is shut later, a credential that others may read is a warning', async () => {
    chmodSync(directory, 0o755)
    const open = await examine(settings())
    expect(open.get('state privacy')).toMatchObject({
      outcome: 'ok',
      seen: expect.stringContaining('mode 0755'),
    })
    writeFileSync(join(directory, 'credential.json'), '{}', { mode: 0o644 })
    const found = await examine(settings())
    expect(found.get('state privacy')).toMatchObject({
      outcome: 'warn',
      seen: expect.stringContaining('mode 0644'),
      remedy: expect.stringContaining(`chmod 600 ${directory}/credential.json`),
    })
  })

  test.skipIf(process.getuid?.() !== 0)(
    'that belongs to another user fails for one who is not root',
    async () => {
      chmodSync(directory, 0o777)
      const plain = ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups']
      const { text } = await doctor({}, [], plain)
      expect(text).toMatch(/^FAIL {2}state privacy: .*uid 0, and this is uid 1000.*\n {6}-> chown 1000/m)
    },
  )

  describe.skipIf(mountMissing() !== null)('on a file system of its own', () => {
    let mounted: string
    beforeEach(() => {
      mounted = join(directory, 'mounted')
      mkdirSync(mounted)
    })
    afterEach(() => unmount(mounted))

    test('in memory is a warning', async () => {
      mountMemory(mounted, 'size=1m')
      const found = await examine(settings({ RUNNER_STATE_DIR: `${mounted}/state` }))
      expect(found.get('file system')).toMatchObject({
        outcome: 'warn',
        seen: expect.stringContaining(`tmpfs at ${mounted}`),
        remedy: expect.stringContaining('on a disk'),
      })
    })

    test('with less room than RUNNER_MIN_DISK_MB fails', async () => {
      mountMemory(mounted, 'size=1m')
      const found = await examine(settings({ RUNNER_STATE_DIR: mounted, RUNNER_MIN_DISK_MB: '2' }))
      expect(found.get('disk')).toMatchObject({
        outcome: 'fail',
        seen: expect.stringMatching(/^1 MB free, under RUNNER_MIN_DISK_MB 2/),
      })
    })

    test('that is full fails, although its permissions are good', async () => {
      mountMemory(mounted, 'size=64k')
      expect(() => writeFileSync(join(mounted, 'big'), Buffer.alloc(1 << 20))).toThrow(/ENOSPC/)
      const found = await examine(settings({ RUNNER_STATE_DIR: mounted }))
      expect(found.get('state directory')).toMatchObject({
        outcome: 'fail',
        remedy: expect.stringContaining('free space'),
      })
      expect(existsSync(join(mounted, 'doctor.json'))).toBe(false)
    })
  })
})

test.skipIf(mountMissing() !== null)(
  'too little shared memory fails where jobs share that of the host',
  async () => {
    const small = 'mount -t tmpfs -o size=8m certyn-test /dev/shm && exec "$@"'
    const { code, text } = await doctor({}, [], ['unshare', '--mount', 'sh', '-c', small, 'sh'])
    expect(text).toMatch(/^FAIL {2}shared memory: \/dev\/shm has 8 MB.*\n {6}-> .*--shm-size 512m$/m)
    expect(code).toBe(1)
  },
)
