/** One plain line among the run's output, told apart from what the command says by its beginning. */
export function say(line: string): void {
  process.stderr.write(`certyn agent: ${line}\n`)
}

/** Where lines for people go; a test collects them. */
export type Say = typeof say

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error)
}
