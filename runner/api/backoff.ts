export const BACKOFF_BASE_MS = 500
/** Under a quarter of the default lease, so that a healed network is found before the lease ends. */
export const BACKOFF_CAP_MS = 10_000

/** Nothing is gained by asking a control plane less often than this. */
const FLOOR_CAP_MS = 60_000
/** A pause must leave a lease the time for several attempts. */
const PAUSES_PER_LEASE = 4

/**
 * The longest pause of its own that a runner makes: sessions that are held would end while nobody speaks for them.
 * @param leaseTtlMs of the sessions held; null when none is, infinite when no reply has told it yet
 */
export function pauseCapMs(leaseTtlMs: number | null): number {
  return leaseTtlMs === null ? BACKOFF_CAP_MS : Math.min(BACKOFF_CAP_MS, leaseTtlMs / PAUSES_PER_LEASE)
}

/** How much of a Retry-After is heeded. @param leaseTtlMs as above */
export function floorMs(retryAfterMs: number, leaseTtlMs: number | null): number {
  if (leaseTtlMs === null) return Math.min(retryAfterMs, FLOOR_CAP_MS)
  const capMs = Number.isFinite(leaseTtlMs) ? leaseTtlMs / PAUSES_PER_LEASE : BACKOFF_CAP_MS
  return Math.min(retryAfterMs, FLOOR_CAP_MS, capMs)
}

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
