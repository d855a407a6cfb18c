import { spawn } from 'node:child_process'
import { openSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import type { Exit } from '../../../protocol/runner-api.ts'
import { kernelBootId, systemClock } from '../../clock.ts'
import { readJsonFile, writeFileAtomic } from '../../state/files.ts'
import { type HostExit, type HostProcess, HostSpec, hostFiles } from './host-files.ts'
import { identify } from './process-identity.ts'

/**
 * Stands beside one command so that its exit code outlives the daemon. It enforces nothing: the daemon signals the
 * command's process group, and this process only waits and writes down what came of it.
 */
export async function runShim(directory: string): Promise<void> {
  const files = hostFiles(directory)
  const spec = readJsonFile(files.spec, HostSpec)
  const shim = identify(process.pid)
  if (spec === null || shim === null) throw new Error(`no readable spec in ${directory}`)
  const kernel = kernelBootId()
  // Exclusive: whatever else goes wrong, a session's command is started at most once.
  writeFileSync(files.claim, JSON.stringify({ kernel, shim }), { flag: 'wx', mode: 0o600 })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

  const started_at = new Date().toISOString()
  const started = { kernel, shim, started_at, started_at_ms: systemClock.now() }
  const output = openSync(files.output, 'a', 0o600)
  const [program = '', ...args] = spec.command
  const child = spawn(program, args, {
    cwd: spec.cwd,
    env: spec.env,
    detached: true,
    stdio: ['ignore', output, output],
  })
  const ended = new Promise<Exit>(resolve => {
    child.once('error', error => resolve(spawnFailure(error)))
    child.once('exit', (code, signal) => resolve(exitOf(code, signal)))
  })
  const command = child.pid === undefined ? null : identify(child.pid)
  const running: HostProcess = { ...started, command }
  await writeFileAtomic(files.process, JSON.stringify(running), true)
  const exit = await ended
  // What the command left running in the background ends with it, as it would in a container.
  if (child.pid !== undefined) killGroup(child.pid)
  const result: HostExit = { exit, started_at, finished_at: new Date().toISOString() }
  await writeFileAtomic(files.exit, JSON.stringify(result), true)
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL')
  } catch {
    // Nobody is left in it.
  }
}

/** As shells count: a signal's number above 128; 127 when there is no such program. */
function exitOf(code: number | null, signal: NodeJS.Signals | null): Exit {
  const number = code ?? 128 + (signal === null ? 0 : constants.signals[signal])
  return number === 127
    ? {
        code: number,
        reason: 'command_not_found',
        message: 'the command, or one it called last, was not found',
      }
    : { code: number, reason: 'exited' }
}

function spawnFailure(error: Error): Exit {
  const missing = 'code' in error && (error.code === 'ENOENT' || error.code === 'EACCES')
  return missing
    ? { code: 127, reason: 'command_not_found', message: error.message }
    : { code: null, reason: 'engine_error', message: error.message }
}
