import { setTimeout as sleep } from 'node:timers/promises'
import { pageOf } from '../../protocol/admin-api.ts'
import { isTerminal, Run } from '../../protocol/run.ts'
import type { Demo } from './demo.ts'

/**
 * A sample outlives the `npm run up` that started it. The next one takes the sample that stays to be watched for its
 * own and ends every other, so that samples never take the slots that are meant for other runs.
 */
export const SAMPLE_KEY = 'certyn_sample'
export type SampleKind = 'short' | 'watched'

/** With less left to watch, a new one is worth its start. */
const WORTH_KEEPING_SECONDS = 300
const END_LIMIT_MS = 60_000
const POLL_MS = 250

/** @returns the one to go on with, and those to end */
export function sortFormer(
  samples: readonly Run[],
  image: string,
  now: number,
): { readonly keep: Run | null; readonly end: readonly Run[] } {
  const keep =
    samples.find(
      run =>
        run.metadata[SAMPLE_KEY] === ('watched' satisfies SampleKind) &&
        run.status === 'running' &&
        run.image === image &&
        secondsLeft(run, now) >= WORTH_KEEPING_SECONDS,
    ) ?? null
  return { keep, end: samples.filter(run => run !== keep) }
}

/** Until its timeout. */
export function secondsLeft(run: Run, now: number): number {
  const startedAt = run.started_at === null ? now : Date.parse(run.started_at)
  return Math.floor(run.timeout_seconds - (now - startedAt) / 1000)
}

/** Samples that have not ended, as they are now. */
export async function formerSamples({ api, environmentId }: Demo): Promise<Run[]> {
  const listed: Run[] = []
  for (const status of ['running', 'stopping', 'starting', 'offered', 'queued'] as const) {
    const query = `environment_id=${environmentId}&status=${status}&limit=200`
    listed.push(...(await api.get(`/runs?${query}`, pageOf(Run))).items)
  }
  const samples = listed.filter(run => run.metadata[SAMPLE_KEY] !== undefined)
  // Lists may lag behind.
  const current = await Promise.all(samples.map(run => api.get(`/runs/${run.id}`, Run)))
  return current.filter(run => !isTerminal(run.status))
}

/** Resolves when their slots are free, or when waiting for that is not worth it. */
export async function endSamples({ api }: Demo, runs: readonly Run[]): Promise<void> {
  const until = Date.now() + END_LIMIT_MS
  for (const run of runs) {
    let { status } = await api.post(`/runs/${run.id}/cancel`, {}, Run)
    while (!isTerminal(status) && Date.now() < until) {
      await sleep(POLL_MS)
      status = (await api.get(`/runs/${run.id}`, Run)).status
    }
  }
}
