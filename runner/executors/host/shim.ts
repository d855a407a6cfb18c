import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, openSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import type { Exit } from '../../../protocol/runner-api.ts'
import { kernelBootId, sleep, systemClock } from '../../clock.ts'
import { reasonOf } from '../../log.ts'
import { createFileAtomic, errorCode, isMissing, readJsonFile } from '../../state/files.ts'
import { CappedLog } from './capped-log.ts'
import { type HostExit, type HostProcess, HostSpec, hostFiles } from './host-files.ts'
import { openOutputPipe } from './output-pipe.ts'
import { identify } from './process-identity.ts'
import { ReservedFile } from './reserved-file.ts'

/** As much of a message as a reserved file holds. */
const MESSAGE_LIMIT_CHARS = 1_000
const RETRY_MS = 1_000

/**
 * Stands beside one command so that its exit code outlives the daemon. It enforces nothing: the daemon signals the
 * command's process group, and this process only takes the output, waits and writes down what came of it. The room for
 * that is taken before anything is begun, so that no command runs whose end could not be told.
 */
export async function runShim(directory: string): Promise<void> {
  const files = hostFiles(directory)
  const spec = readJsonFile(files.spec, HostSpec)
  const shim = identify(process.pid)
  if (spec === null || shim === null) throw new Error(`no readable spec in ${directory}`)
  const kernel = kernelBootId()
  const record = ReservedFile.reserve(files.process)
  const result = ReservedFile.reserve(files.exit)
  // Exclusive: whatever else goes wrong, a session's command is started at most once.
  createFileAtomic(files.claim, JSON.stringify({ kernel, shim }))
  // It holds the run's variables, and nobody needs it any more.
  rmSync(files.spec)
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

  const started_at = new Date().toISOString()
  const started = { kernel, shim, started_at, started_at_ms: systemClock.now() }
  const onStart = (command: HostProcess['command']) => record.write({ ...started, command })
  const exit = await runCommand(spec, files, onStart).catch(failureOf)
  const ended: HostExit = { exit, started_at, finished_at: new Date().toISOString() }
  await writeAtLast(result, ended)
}

/** @param onStart writes down whom to signal; a command that this fails for is killed */
async function runCommand(
  spec: HostSpec,
  files: ReturnType<typeof hostFiles>,
  onStart: (command: HostProcess['command']) => void,
): Promise<Exit> {
  const file = openSync(files.output, 'a', 0o600)
  const log = new CappedLog(spec.log_cap_mb, bytes => appendFileSync(file, bytes))
  const output = openOutputPipe(files.pipe, chunk => log.write(chunk))
  const [program = '', ...args] = spec.command
  const child = spawn(program, args, {
    cwd: spec.cwd,
    env: spec.env,
    detached: true,
    stdio: ['ignore', output.writer, output.writer],
  })
  const ended = endOf(child)
  output.closeWriter()
  try {
    onStart(child.pid === undefined ? null : identify(child.pid))
    return await ended
  } finally {
    // What the command left running in the background ends with it, as it would in a container.
    if (child.pid !== undefined) killGroup(child.pid)
    await output.drained()
    log.end()
  }
}

function endOf(child: ChildProcess): Promise<Exit> {
  return new Promise(resolve => {
    child.once('error', error => resolve(spawnFailure(error)))
    child.once('exit', (code, signal) => resolve(exitOf(code, signal)))
  })
}

/** However long it takes: nobody else knows. Ends as well when the daemon has given the session up. */
async function writeAtLast(file: ReservedFile, value: HostExit): Promise<void> {
  for (;;) {
    try {
      return file.write(value)
    } catch (error) {
      if (isMissing(error)) return
      await sleep(RETRY_MS)
    }
  }
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
  const isAbsent = ['ENOENT', 'EACCES'].includes(errorCode(error))
  const message = error.message.slice(0, MESSAGE_LIMIT_CHARS)
  return isAbsent ? { code: 127, reason: 'command_not_found', message } : failureOf(error)
}

function failureOf(error: unknown): Exit {
  const reason = errorCode(error) === 'ENOSPC' ? 'disk_full' : 'engine_error'
  return { code: null, reason, message: reasonOf(error).slice(0, MESSAGE_LIMIT_CHARS) }
}
