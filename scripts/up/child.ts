import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { inWords } from '../control-plane/log.ts'

/**
 * One of the programs that `npm run up` keeps: in a process group of its own, so that Ctrl-C reaches only `up`,
 * which stops them in order, and with a lifeline, so that none is left behind when `up` itself is killed.
 */
export interface Child {
  readonly name: string
  readonly logFile: string
  /** Resolves when the process has ended, with how. */
  readonly ended: Promise<End>
  stop(): Promise<void>
  /** The last lines it wrote, for when it failed. */
  tail(lines: number): string
}

export interface End {
  /** For people. */
  readonly how: string
  /** It was killed, rather than that it gave up by itself. */
  readonly isKilled: boolean
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FOLLOW_PARENT = new URL('../launch/follow-parent.mjs', import.meta.url).href
/** The runner gives itself 10 s to leave; what takes longer hangs. */
const STOP_LIMIT_MS = 15_000

export interface ChildOptions {
  readonly name: string
  /** Path inside the repository. */
  readonly program: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly logFile: string
}

export function startChild({ name, program, args, env, logFile }: ChildOptions): Child {
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--import', FOLLOW_PARENT, path.join(ROOT, program), ...args],
    {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', log, log, 'pipe'],
      env: { ...env, CERTYN_LIFELINE_FD: '3' },
    },
  )
  closeSync(log)
  const ended = endOf(child)
  return {
    name,
    logFile,
    ended,
    stop: async () => {
      child.kill('SIGTERM')
      const kill = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
      await ended
      clearTimeout(kill)
    },
    tail: lines => readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).map(inWords).join('\n'),
  }
}

function endOf(child: ChildProcess): Promise<End> {
  return new Promise(resolve => {
    child.on('error', error => resolve({ how: error.message, isKilled: false }))
    child.on('exit', (code, signal) =>
      resolve({ how: signal === null ? `exit code ${code}` : `signal ${signal}`, isKilled: signal !== null }),
    )
  })
}
