import type { Goal } from '../support/figures.ts'
import { startJoints } from './joints.ts'
import { latencyGoals } from './latency.ts'
import { safetyGoals } from './safety.ts'
import { throughputGoals } from './throughput.ts'

/** Throughput, latency and safety of the relay, against a bare object and node's ws in the same run. */
export async function benchRelay(): Promise<Goal[]> {
  const bench = await startJoints()
  const goals = [...(await throughputGoals(bench)), ...(await latencyGoals(bench))]
  await bench.stop()
  return [...goals, ...(await safetyGoals())]
}
