/** Release of this tree; runner and control plane report it, and the control plane flags runners behind it. */
export const VERSION = '0.1.0'

/** Wire protocol of the runner API. A runner that speaks another is answered 426. */
export const RUNNER_PROTOCOL = 1

/** Major and minor of a release; null for what is none. */
export function releaseLine(version: string): string | null {
  return /^v?(\d+\.\d+)\.\d+(?:[-+][0-9A-Za-z.+-]+)?$/.exec(version)?.[1] ?? null
}

/** Releases of one line are tried out with each other. What is no release is never called another line. */
export function isSameLine(a: string, b: string): boolean {
  const lines = [releaseLine(a), releaseLine(b)]
  return lines.includes(null) || lines[0] === lines[1]
}
