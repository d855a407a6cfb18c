import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemClock } from '../../../runner/clock.ts'
import { HostExecutor } from '../../../runner/executors/host/host-executor.ts'
import { identify } from '../../../runner/executors/host/process-identity.ts'
import { readPolicy } from '../../../runner/policy.ts'
import { StateDirectory } from '../../../runner/state/state-directory.ts'
import { aJob, runId, uniqueSessionId } from '../support/factories.ts'
import { removeDirectory, temporaryDirectory, until } from '../support/runner-process.ts'

const MAIN = join(import.meta.dirname, '../../../runner/main.ts')

test('what a command leaves in the background ends with it', async () => {
  const directory = temporaryDirectory()
  const state = await StateDirectory.open(directory)
  try {
    const executor = new HostExecutor({
      state,
      policy: readPolicy(null),
      runIdOf: () => runId('a'),
      clock: systemClock,
      ownCommand: [process.execPath, MAIN],
    })
    await executor.ready()
    const id = uniqueSessionId()
    await executor.create(id, aJob({ command: ['/bin/sh', '-c', 'sleep 77 & echo $! > pid; exit 0'] }))
    await executor.start(id)
    const ended = await executor.wait(id, new AbortController().signal)
    expect(ended.exit).toEqual({ code: 0, reason: 'exited' })
    const pid = Number(readFileSync(join(directory, 'sessions', id, 'pid'), 'utf8'))
    await until('the background process is gone', () => identify(pid) === null)
  } finally {
    state.release()
    removeDirectory(directory)
  }
})
