import { constants } from 'node:os'

/**
 * Exit codes, as shells and `env` count them: the command's own, 128 and a signal's number, 127 and 126 for a command
 * that could not be started, 125 when the agent itself could not do its part.
 */
export const EXIT = {
  pageFailed: 1,
  nothingToDo: 2,
  agentFailed: 125,
  notExecutable: 126,
  notFound: 127,
} as const

/** @param code null when a signal ended the process */
export function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  if (code !== null) return code
  return signal === null ? EXIT.agentFailed : 128 + constants.signals[signal]
}

/** @returns the code and a sentence for the log */
export function startFailureOf(
  program: string,
  error: NodeJS.ErrnoException,
): { code: number; message: string } {
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return {
        code: EXIT.notFound,
        message: `command not found: ${program} (no such program here, or the interpreter it names is missing)`,
      }
    case 'EACCES':
    case 'ENOEXEC':
    case 'EISDIR':
      return {
        code: EXIT.notExecutable,
        message: `the command cannot be executed: ${program} (${error.code})`,
      }
    default:
      return { code: EXIT.agentFailed, message: `the command could not be started: ${error.message}` }
  }
}
