/** Commands for the Node image, each doing one thing a real job might. */
export function node(script: string): string[] {
  return ['node', '-e', script]
}

export const JOBS = {
  succeed: node('process.exit(0)'),
  exitWith: (code: number) => node(`process.exit(${code})`),
  /** Ends at once on SIGTERM: Node as process 1's child keeps the default action. */
  sleepMs: (ms: number) => node(`setTimeout(() => {}, ${ms})`),
  ignoreSigterm: node(`process.on('SIGTERM', () => {}); setTimeout(() => {}, 600000)`),
  eatMemory: node(`const all = []; for (;;) all.push(Buffer.alloc(8 << 20, 1))`),
  missingCommand: ['/no/such/program'],
} as const
