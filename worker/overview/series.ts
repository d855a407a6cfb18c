import type { PoolSample } from '../../protocol/overview.ts'

/**
 * A pool is sampled a minute after its last sample, not at the full minute, so now and then a step has none: for that
 * long the one before stands. After the sample that closes a stretch there is nothing to stand for.
 */
const STANDS_FOR_STEPS = 2

/**
 * The samples of several pools as those of one, oldest first, wherever any pool has one.
 * @param pools each oldest first, at multiples of the step
 */
export function together(pools: readonly (readonly PoolSample[])[], stepMs: number): PoolSample[] {
  const times = new Set(pools.flatMap(samples => samples.map(({ at }) => at)))
  const cursors = pools.map(samples => ({ samples, next: 0 }))
  return [...times].sort().map(at => {
    const standing = cursors.flatMap(cursor => {
      while ((cursor.samples[cursor.next]?.at ?? '~') <= at) cursor.next += 1
      const latest = cursor.samples[cursor.next - 1]
      return latest === undefined ? [] : [standingAt(latest, at, stepMs)]
    })
    return standing.reduce(sum, { ...NOTHING, at })
  })
}

const NOTHING = { queued: 0, slots_busy: 0, slots_total: 0, oldest_queued_seconds: null }

/** Runners do not leave because nothing is measured. */
function standingAt(sample: PoolSample, at: string, stepMs: number): PoolSample {
  const age = Date.parse(at) - Date.parse(sample.at)
  return age <= STANDS_FOR_STEPS * stepMs
    ? sample
    : { ...sample, ...NOTHING, slots_total: sample.slots_total }
}

function sum(all: PoolSample, one: PoolSample): PoolSample {
  return {
    at: all.at,
    queued: all.queued + one.queued,
    slots_busy: all.slots_busy + one.slots_busy,
    slots_total: all.slots_total + one.slots_total,
    oldest_queued_seconds: oldest(all.oldest_queued_seconds, one.oldest_queued_seconds),
  }
}

export function oldest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.max(a, b)
}
