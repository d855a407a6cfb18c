import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FakeControlPlane } from './support/fake-control-plane.ts'
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

async function doctor(
  change: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; text: string }> {
  const runner = new RunnerProcess({ ...settingsFor(plane, directory, 'host'), ...change }, ['doctor'])
  const code = await runner.ended()
  return { code, text: runner.log.map(line => line.msg).join('\n') }
}

test('a sound host passes every check and is left as it was', async () => {
  const { code, text } = await doctor()
  expect(text).not.toContain('FAIL')
  for (const name of ['proxy', 'DNS', 'HTTPS', 'clock', 'websocket', 'state directory', 'disk']) {
    expect(text).toContain(`ok    ${name}:`)
  }
  expect(code).toBe(0)
  expect(existsSync(`${directory}/boot.json`)).toBe(false)
})

test('a proxy is shown without the credentials in its address', async () => {
  const { text } = await doctor({ HTTPS_PROXY: 'http://someone:hunter2@127.0.0.1:1' })
  expect(text).toContain('proxy: 127.0.0.1:1')
  expect(text).not.toMatch(/someone|hunter2/)
})

test.each([
  [{ CONTROL_PLANE_URL: 'http://127.0.0.1:1' }, /FAIL {2}HTTPS: .*\n\s+allow outbound HTTPS/],
  [{ CONTROL_PLANE_URL: 'https://no-such-host.invalid' }, /FAIL {2}DNS: .*\n\s+check the name/],
  [{ RUNNER_MIN_DISK_MB: '999999999' }, /FAIL {2}disk: .*\n\s+free space/],
  [{ RUNNER_STATE_DIR: '/proc/nowhere/at/all' }, /FAIL {2}state directory: .*\n\s+mount a directory/],
  [
    { RUNNER_EXECUTOR: 'docker', DOCKER_HOST: 'unix:///no/such.sock' },
    /FAIL {2}Docker Engine: .*\n\s+start Docker and mount its socket/,
  ],
])('%j is found, with its remedy, and the other checks are still made', async (change, expected) => {
  const { code, text } = await doctor(change)
  expect(text).toMatch(expected)
  expect(text).toContain('proxy:')
  expect(code).toBe(1)
})
