export const BACKOFF_BASE_MS = 500
/** Under a quarter of the default lease, so that a healed network is found before the lease ends. */
export const BACKOFF_CAP_MS = 10_000

/**
 * Full jitter: anything from nothing to an exponentially growing cap, never less than the server asked for.
 * @param failures how many in a row, from 1
 */
export function backoffMs(
  failures: number,
  retryAfterMs: number,
  random: () => number,
  capMs = BACKOFF_CAP_MS,
): number {
  const ceiling = Math.min(capMs, BACKOFF_BASE_MS * 2 ** Math.min(failures - 1, 30))
  return Math.max(retryAfterMs, ceiling * random())
}
