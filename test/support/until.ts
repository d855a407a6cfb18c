import { setTimeout as sleep } from 'node:timers/promises'

const CEILING_MS = 90_000
const POLL_MS = 100

/**
 * Waits for a condition by looking again and again. The ceiling is far above what any machine needs: reaching it
 * is a failure of the condition, never of the clock.
 *
 * @param look gives what was waited for, or undefined, null or false for "not yet"
 * @throws naming what did not come to pass
 */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  ceilingMs = CEILING_MS,
): Promise<Exclude<T, undefined | null | false>> {
  const end = Date.now() + ceilingMs
  for (;;) {
    const seen = await look()
    if (seen !== undefined && seen !== null && seen !== false) {
      return seen as Exclude<T, undefined | null | false>
    }
    if (Date.now() > end) throw new Error(`not within ${ceilingMs / 1000} s: ${what}`)
    await sleep(POLL_MS)
  }
}
