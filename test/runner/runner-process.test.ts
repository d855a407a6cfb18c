import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'

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
