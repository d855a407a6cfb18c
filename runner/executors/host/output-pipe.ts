import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { sleep } from '../../clock.ts'

/** What a command has written but a process that outlives it keeps open is not waited for. */
const DRAIN_LIMIT_MS = 2_000

export interface OutputPipe {
  /** To be given to the command, as standard output and as standard error. */
  readonly writer: number
  /** To be called once the command has it: the output ends when the last process that has it is gone. */
  closeWriter(): void
  /** Resolves when all output was handed on, or when it can be waited for no longer. */
  drained(): Promise<void>
}

/**
 * A named pipe, whose name is gone when this returns. The platform's own pipes are sockets, which a command cannot open
 * again as /dev/stdout or /dev/stderr; and with one pipe for both, the output stays in the order it was written in.
 * @param path where the name is for a moment
 */
export function openOutputPipe(path: string, onOutput: (chunk: Uint8Array) => void): OutputPipe {
  execFileSync('mkfifo', ['-m', '600', path], { stdio: 'ignore' })
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(path, constants.O_WRONLY)
  rmSync(path)
  const socket = new Socket({ fd: reader, readable: true, writable: false })
  const ended = new Promise<void>(resolve => socket.once('close', () => resolve()))
  socket.on('error', () => undefined)
  socket.on('data', onOutput)
  return {
    writer,
    closeWriter: () => closeSync(writer),
    drained: () => Promise.race([ended, sleep(DRAIN_LIMIT_MS)]),
  }
}
