import type { Goal } from '../support/figures.ts'
import { startJoints } from './joints.ts'
import { latencyGoals } from './latency.ts'
import { safetyGoals } from './safety.ts'
import { throughputGoals } from './throughput.ts'

/** Throughput, latency and safety of the relay, against a bare object and node's ws in the same run. */
export async function benchRelay(): Promise<Goal[]> {
  const bench = await startJoints()
  try {
    return [...(await throughputGoals(bench)), ...(await latencyGoals(bench)), ...(await safetyGoals(bench))]
  } finally {
    await bench.stop()
  }
}
