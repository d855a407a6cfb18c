import { type Goal, median } from '../support/figures.ts'
import type { Bench, Joint } from './joints.ts'
import { frame, openScene, take } from './scene.ts'

/** P8: how many frames a second reach every one of 1, 5 and 20 viewers. */

const ROUNDS = 11
const FRAMES = { 1: 600, 5: 300, 20: 120 } as const
type Count = keyof typeof FRAMES

interface Rate {
  readonly framesPerSecond: number
  /** Of the joint's process. */
  readonly cpuUs: number
}

/** The next frame is sent when every viewer has the one before, so that none is skipped and every joint does the same work. */
async function rateOf(joint: Joint, count: Count): Promise<Rate> {
  const { publisher, viewers, close } = await openScene(joint, count)
  const frames = FRAMES[count]
  const cpuBefore = joint.cpuMs()
  const began = performance.now()
  await new Promise<void>(resolve => {
    let seq = 1
    let missing = viewers.length
    for (const viewer of viewers) {
      take(viewer, () => {
        missing -= 1
        if (missing > 0) return
        if (seq === frames) return resolve()
        missing = viewers.length
        publisher.send(frame(++seq))
      })
    }
    publisher.send(frame(seq))
  })
  const tookMs = performance.now() - began
  const cpuUs = ((joint.cpuMs() - cpuBefore) * 1000) / frames
  close()
  return { framesPerSecond: (frames * 1000) / tookMs, cpuUs }
}

export async function throughputGoals({ joints }: Bench): Promise<Goal[]> {
  const { relay, bare, node } = joints
  // Everything is compiled and warm before anything counts.
  for (const joint of [relay, bare, node]) await rateOf(joint, 5)
  const goals: Goal[] = []
  for (const count of [1, 5, 20] as const) {
    const rounds: Record<Joint['name'], Rate[]> = { relay: [], 'bare object': [], 'node ws': [] }
    for (let round = 0; round < ROUNDS; round++) {
      // Each is as often first as last: what else happens on the machine comes and goes in any of them.
      const order = [relay, bare, node].map((_, at, all) => all[(at + round) % all.length])
      for (const joint of order) if (joint !== undefined) rounds[joint.name].push(await rateOf(joint, count))
    }
    goals.push(goalAgainst(bare.name, count, 0.85, rounds))
    if (count === 20) goals.push(goalAgainst(node.name, count, 0.35, rounds))
  }
  return goals
}

/** The median of the ratios of each round, whose measurements were made one right after the other. */
function goalAgainst(
  anchor: Joint['name'],
  count: number,
  least: number,
  rounds: Readonly<Record<Joint['name'], readonly Rate[]>>,
): Goal {
  const ratios = rounds.relay.map(
    ({ framesPerSecond }, at) => framesPerSecond / (rounds[anchor][at]?.framesPerSecond ?? 0),
  )
  const figure = median(ratios)
  return {
    goal: `P8 throughput, ${count === 1 ? '1 viewer' : `${count} viewers`}`,
    measured: inWords(rounds.relay),
    anchor: `${anchor} ${inWords(rounds[anchor])}`,
    figure,
    bound: `≥ ${least}`,
    isMet: figure >= least,
  }
}

function inWords(rates: readonly Rate[]): string {
  const perSecond = median(rates.map(({ framesPerSecond }) => framesPerSecond))
  const cpuUs = median(rates.map(one => one.cpuUs))
  return `${perSecond.toFixed(0)} frames/s, ${cpuUs.toFixed(0)} µs CPU a frame`
}
