import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { VERSION } from '../../protocol/version.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

test('a daemon of the tests does not outlive the process that started it', async () => {
  const directory = temporaryDirectory()
  const env = {
    CONTROL_PLANE_URL: 'http://127.0.0.1:1',
    RUNNER_POOL_ID: 'pol_01jd0000000000000000000000',
    REGISTRATION_TOKEN_FILE: `${directory}/token`,
    RUNNER_STATE_DIR: directory,
    RUNNER_EXECUTOR: 'host',
  }
  const program = `
    import { RunnerProcess, until } from '${new URL('support/runner-process.ts', import.meta.url)}'
    const runner = new RunnerProcess(${JSON.stringify(env)})
    await until('it is up', () => runner.logged('looking again'))
    process.stdout.write(String(runner.pid))
    setInterval(() => undefined, 1000)
  `
  const parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [pid] = await once(parent.stdout, 'data')
  expect(existsSync(`/proc/${pid}`)).toBe(true)
  parent.kill('SIGKILL')
  await until('the daemon is gone', () => !existsSync(`/proc/${pid}`))
  removeDirectory(directory)
})

test.each([
  ['--help', 0, 'usage: runner'],
  ['--version', 0, VERSION],
  ['--hepl', 2, 'there is no command "--hepl"'],
])('a runner that is given %s ends with %i and says what there is', async (argument, code, said) => {
  const runner = new RunnerProcess({}, [argument])
  expect(await runner.ended()).toBe(code)
  expect(code === 0 ? runner.log.map(({ msg }) => msg).join('\n') : runner.stderr).toContain(said)
})

describe('a runner goes on', () => {
  test('though nothing can be written to its log, as on a disk that is full', async () => {
    const directory = temporaryDirectory()
    const plane = await FakeControlPlane.start()
    const toFull = ['sh', '-c', 'exec "$@" > /dev/full', 'sh']
    const runner = new RunnerProcess(settingsFor(plane, directory, 'host'), [], toFull)
    onTestFinished(() => runner.destroy())
    await until('it syncs again and again', () => plane.syncs.length > 2 || runner.hasEnded())
    expect([runner.hasEnded(), runner.stderr]).toEqual([false, ''])
    runner.kill('SIGTERM')
    expect(await runner.ended()).toBe(0)
    await plane.stop()
    removeDirectory(directory)
  })

  test('after an error of a connection that nothing listened to', async () => {
    const { code, lines } = await unexpected(`
      const error = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
      setTimeout(() => new EventEmitter().emit('error', error), 1)
      setTimeout(() => process.exit(7), 100)
    `)
    expect(code).toBe(7)
    expect(lines).toEqual([
      expect.objectContaining({
        level: 'error',
        error: 'read ECONNRESET',
        stack: expect.stringContaining('at '),
        msg: expect.stringMatching(/the runner goes on/),
      }),
    ])
  })
})

test.each([
  ['an exception', `setTimeout(() => { throw new TypeError('x is not a function') }, 1)`],
  ['a rejection', `Promise.reject(new TypeError('x is not a function'))`],
])('a runner ends after %s that nobody awaited, and says what follows', async (_what, program) => {
  const andOn = `${program}; setTimeout(() => process.exit(7), 20_000)`
  const full = openSync('/dev/full', 'w')
  expect((await unexpected(andOn, full)).code).toBe(1)
  closeSync(full)
  const { code, lines } = await unexpected(andOn)
  expect(code).toBe(1)
  expect(lines).toEqual([
    expect.objectContaining({
      level: 'fatal',
      error: 'x is not a function',
      stack: expect.stringContaining('TypeError'),
      msg: expect.stringMatching(/start it again/),
    }),
  ])
})

/** What becomes of a process that listens as the daemon does, and what it says. */
async function unexpected(
  program: string,
  output: 'pipe' | number = 'pipe',
): Promise<{ code: number | null; lines: unknown[] }> {
  const runner = new URL('../../runner/', import.meta.url)
  const before = `
    import { EventEmitter } from 'node:events'
    import { createLog, standardOutput } from '${new URL('log.ts', runner)}'
    import { listenForUnexpected } from '${new URL('daemon/unexpected.ts', runner)}'
    const output = standardOutput()
    listenForUnexpected(createLog('info', output), output)
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', `${before}\n${program}`], {
    stdio: ['ignore', output, 'inherit'],
    timeout: 30_000,
    killSignal: 'SIGKILL',
  })
  let text = ''
  child.stdout?.on('data', chunk => {
    text += chunk
  })
  const [code] = await once(child, 'close')
  const lines = text.split('\n').filter(line => line !== '')
  return { code, lines: lines.map(line => JSON.parse(line)) }
}
