import { writeFileSync } from 'node:fs'
import path from 'node:path'

/** Commands for the Node image, each doing one thing a real job might. */
export function node(script: string): string[] {
  return ['node', '-e', script]
}

export const JOBS = {
  succeed: node('process.exit(0)'),
  exitWith: (code: number) => node(`process.exit(${code})`),
  /** Ends at once on SIGTERM: Node as process 1's child keeps the default action. */
  sleepMs: (ms: number) => node(`setTimeout(() => {}, ${ms})`),
  /** Ends with the code when it is told to by `letEnd`. */
  waitThenExit: (code: number) => node(waiting(code)),
  waitIgnoringSigterm: (code: number) => node(`process.on('SIGTERM', () => {}); ${waiting(code)}`),
  ignoreSigterm: node(`process.on('SIGTERM', () => {}); setTimeout(() => {}, 600000)`),
  eatMemory: node(`const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))`),
  missingCommand: ['/no/such/program'],
} as const

function waiting(code: number): string {
  return `setInterval(() => require('fs').existsSync('/certyn/artifacts/go') && process.exit(${code}), 20)`
}

/** @param stateDir of the runner that has the session */
export function letEnd(stateDir: string, sessionId: string): void {
  writeFileSync(path.join(stateDir, 'sessions', sessionId, 'artifacts', 'go'), '')
}
