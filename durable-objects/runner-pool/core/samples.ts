import { HISTORY_DAYS, type PoolSample, SAMPLE_INTERVAL_MS } from '../../../protocol/overview.ts'
import { timestamp } from '../../../protocol/text.ts'
import type { PoolContext } from './context.ts'
import { stats } from './runners.ts'

/**
 * How the pool did, for people: its queue and its slots, once a minute for as long as anything waits or runs, and once
 * more when nothing does any longer. Taken at the alarm, so that no sync and no lease pays for it, and an idle pool
 * sleeps on.
 */
export interface SampleRecord {
  readonly at: number
  readonly queued: number
  readonly slotsBusy: number
  readonly slotsTotal: number
  readonly oldestQueuedSeconds: number | null
}

const KEPT_MS = HISTORY_DAYS * 86_400_000
/** A pool that was idle for long has many that are too old; some go with each new one. */
const PRUNE_BATCH = 200

/**
 * @param newest the last one taken, or null
 * @returns the last one now, and when the next is due (null: once something happens)
 */
export function sampleIfDue(
  ctx: PoolContext,
  newest: SampleRecord | null,
): { newest: SampleRecord | null; next: number | null } {
  const dueAt = newest === null ? 0 : newest.at + SAMPLE_INTERVAL_MS
  const awaited = (newest !== null && isBusy(newest)) || somethingHappens(ctx)
  if (!awaited) return { newest, next: null }
  if (ctx.now < dueAt) return { newest, next: dueAt }
  const sample = sampleOf(ctx)
  ctx.store.samples.insert(sample)
  ctx.store.samples.prune(ctx.now - KEPT_MS, PRUNE_BATCH)
  return { newest: sample, next: isBusy(sample) ? ctx.now + SAMPLE_INTERVAL_MS : null }
}

/**
 * The samples from a time on, oldest first.
 * @param stepMs where it is longer than a sample, each stands for so long, with the highest values of that time
 */
export function readSamples(ctx: PoolContext, since: number, stepMs: number): SampleRecord[] {
  const from = Math.max(since, ctx.now - KEPT_MS)
  return thin(ctx.store.samples.since(from), Math.max(stepMs, SAMPLE_INTERVAL_MS))
}

/** What closes a stretch must not drown in the highest of its step, or the stretch would seem to last. */
export function thin(samples: readonly SampleRecord[], stepMs: number): SampleRecord[] {
  const steps = new Map<number, { highest: SampleRecord; last: SampleRecord }>()
  for (const sample of samples) {
    const at = Math.floor(sample.at / stepMs) * stepMs
    const highest = steps.get(at)?.highest
    steps.set(at, { highest: { ...(highest ? higher(highest, sample) : sample), at }, last: sample })
  }
  return [...steps].flatMap(([at, { highest, last }]) => {
    const closes = isBusy(highest) && !isBusy(last) && !steps.has(at + stepMs)
    return closes ? [highest, { ...last, at: at + stepMs }] : [highest]
  })
}

export function toPoolSample(sample: SampleRecord): PoolSample {
  return {
    at: timestamp(sample.at),
    queued: sample.queued,
    slots_busy: sample.slotsBusy,
    slots_total: sample.slotsTotal,
    oldest_queued_seconds: sample.oldestQueuedSeconds,
  }
}

export function isBusy(sample: Pick<SampleRecord, 'queued' | 'slotsBusy'>): boolean {
  return sample.queued > 0 || sample.slotsBusy > 0
}

function somethingHappens(ctx: PoolContext): boolean {
  return !ctx.store.queue.isEmpty() || !ctx.store.leases.isEmpty()
}

function sampleOf(ctx: PoolContext): SampleRecord {
  const { queued, slots_busy, slots_total, oldest_queued_seconds } = stats(ctx)
  return {
    at: ctx.now,
    queued,
    slotsBusy: slots_busy,
    slotsTotal: slots_total,
    oldestQueuedSeconds: oldest_queued_seconds,
  }
}

function higher(a: SampleRecord, b: SampleRecord): SampleRecord {
  const oldest = Math.max(a.oldestQueuedSeconds ?? -1, b.oldestQueuedSeconds ?? -1)
  return {
    at: a.at,
    queued: Math.max(a.queued, b.queued),
    slotsBusy: Math.max(a.slotsBusy, b.slotsBusy),
    slotsTotal: Math.max(a.slotsTotal, b.slotsTotal),
    oldestQueuedSeconds: oldest < 0 ? null : oldest,
  }
}
