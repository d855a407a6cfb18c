import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { kernelBootId, systemClock } from '../../runner/clock.ts'
import { HostExecutor } from '../../runner/executors/host/host-executor.ts'
import { hostFiles } from '../../runner/executors/host/host-files.ts'
import { identify } from '../../runner/executors/host/process-identity.ts'
import { readPolicy } from '../../runner/policy.ts'
import { StateDirectory } from '../../runner/state/state-directory.ts'
import { aJob, runId, uniqueSessionId } from './support/factories.ts'
import { removeDirectory, temporaryDirectory } from './support/runner-process.ts'

/** What the shim of a session does between two looks at its files. */

const shim = vi.hoisted(() => ({ step: (_path: string): void => undefined }))
vi.mock(import('../../runner/state/files.ts'), async original => {
  const real = await original()
  const readJsonFile: typeof real.readJsonFile = (path, schema) => {
    const value = real.readJsonFile(path, schema)
    shim.step(path)
    return value
  }
  return { ...real, readJsonFile }
})

let directory: string
let state: StateDirectory

beforeEach(async () => {
  directory = temporaryDirectory()
  state = await StateDirectory.open(directory)
})

afterEach(() => {
  state.release()
  removeDirectory(directory)
})

test.each(['spec', 'claim', 'process', 'exit'] as const)(
  'a session that is claimed right after its %s file was looked for is still listed',
  async name => {
    const executor = new HostExecutor({
      state,
      policy: readPolicy(null),
      config: {
        RUNNER_LOG_CAP_MB: 1,
        RUNNER_JOB_HTTPS_PROXY: null,
        RUNNER_JOB_NO_PROXY: null,
        RUNNER_JOB_CA_FILE: null,
      },
      runIdOf: () => runId('a'),
      clock: systemClock,
      ownCommand: ['none'],
    })
    const id = uniqueSessionId()
    await executor.create(id, aJob())
    const files = hostFiles(join(state.hostPath, id))
    shim.step = path => {
      if (path !== files[name]) return
      writeFileSync(files.claim, JSON.stringify({ kernel: kernelBootId(), shim: identify(process.pid) }))
      rmSync(files.spec, { force: true })
    }
    const listed = await executor.list()
    expect(listed.map(found => found.session_id)).toEqual([id])
  },
)
