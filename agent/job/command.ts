import { type ChildProcess, spawn } from 'node:child_process'
import { exitCodeOf, startFailureOf } from '../exit-code.ts'
import type { Say } from '../say.ts'

export interface CommandParts {
  readonly argv: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly say: Say
}

/** Reads until the agent is gone, however that came, and then ends the process group it was told. */
const FOLLOW_AGENT = 'read _; kill -KILL -- "-$1" 2>/dev/null'

/**
 * The run's command: in a process group of its own, so that a signal reaches all of it and nothing else, with the
 * agent's own standard output and error, so that nothing it says is touched. What it leaves running in the background
 * ends with it; and with the agent, where no container does that.
 */
export class Command {
  readonly #child: ChildProcess
  /** Never rejects. */
  readonly exitCode: Promise<number>

  constructor({ argv: [program, ...args], env, say }: CommandParts) {
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...env },
    })
    this.#child = child
    const watcher = child.pid === undefined ? null : followAgent(child.pid)
    this.exitCode = new Promise(resolve => {
      child.once('error', error => {
        // A signal that could not be sent is an error too.
        if (child.pid !== undefined) return
        const { code, message } = startFailureOf(program, error)
        say(message)
        resolve(code)
      })
      child.once('exit', (code, signal) => {
        this.signal('SIGKILL')
        watcher?.kill('SIGKILL')
        resolve(exitCodeOf(code, signal))
      })
    })
  }

  signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child
    if (pid === undefined) return
    try {
      process.kill(-pid, signal)
    } catch {
      // Nobody is left in the group.
    }
  }
}

function followAgent(group: number): ChildProcess {
  const watcher = spawn('sh', ['-c', FOLLOW_AGENT, 'sh', String(group)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  // An image without a shell: its container ends with the agent anyway.
  watcher.on('error', () => undefined)
  return watcher
}
