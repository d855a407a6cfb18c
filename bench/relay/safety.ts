import { setTimeout as sleep } from 'node:timers/promises'
import type { Goal } from '../support/figures.ts'
import { type Joint, startJoints } from './joints.ts'
import { frame, openScene, type Scene, take } from './scene.ts'

/** P10: one of twenty viewers reads nothing for a minute and then goes on; at the end all of them leave. */

const VIEWERS = 20
const PACE_MS = 33
/** A runtime's memory grows by itself at first, and comes to rest within this. */
const WARM_MS = 80_000
const USUAL_MS = 15_000
const STALL_MS = Number(process.env.BENCH_STALL_SECONDS ?? 60) * 1000
/** A joint that hands everything on needs no longer to show what becomes of that. */
const NAIVE_STALL_MS = Math.min(STALL_MS, 30_000)
const PATIENCE_MS = 30_000

interface Seen {
  /** Share of the frames sent that each of the others got while one was stalled, of what it was before. */
  readonly kept: number
  readonly framesPerSecond: number
  readonly grownMiB: number
  readonly resumedMs: number
}

async function stall(joint: Joint, { publisher, viewers }: Scene, stallMs: number): Promise<Seen> {
  const [stalled, ...others] = viewers
  if (stalled === undefined) throw new Error('nobody watches')
  let sent = 0
  let got = 0
  let newest = 0
  for (const viewer of others) take(viewer, () => (got += 1))
  take(stalled, seq => {
    newest = seq
  })
  const timer = setInterval(() => publisher.send(frame(++sent)), PACE_MS)
  const over = async (ms: number) => {
    const before = { sent, got }
    await sleep(ms)
    const gotEach = (got - before.got) / others.length
    return { share: gotEach / (sent - before.sent), perSecond: (gotEach * 1000) / ms }
  }
  await over(WARM_MS)
  const usual = await over(USUAL_MS)
  const memoryBefore = joint.memoryBytes()
  stalled.pause()
  const during = await over(stallMs)
  const grownMiB = (joint.memoryBytes() - memoryBefore) / 1024 / 1024
  const wanted = sent
  const resumedAt = performance.now()
  stalled.resume()
  while (newest < wanted && performance.now() - resumedAt < PATIENCE_MS) await sleep(2)
  const resumedMs = performance.now() - resumedAt
  clearInterval(timer)
  return { kept: during.share / usual.share, framesPerSecond: during.perSecond, grownMiB, resumedMs }
}

/** @returns milliseconds from the last viewer's leaving to the publisher's hearing that nobody watches */
async function untilTold({ publisher, viewers }: Scene): Promise<number> {
  const told = new Promise<number>(resolve => {
    publisher.on('message', (data: Buffer) => {
      if (data.includes('"viewers":0')) resolve(performance.now())
    })
  })
  const leftAt = performance.now()
  for (const viewer of viewers) viewer.close()
  return (await Promise.race([told, sleep(PATIENCE_MS).then(() => Number.POSITIVE_INFINITY)])) - leftAt
}

/** In a runtime that has not grown by anything else. */
async function freshly<T>(
  which: 'relay' | 'bare',
  look: (joint: Joint, scene: Scene) => Promise<T>,
): Promise<T> {
  const { joints, stop } = await startJoints()
  const scene = await openScene(joints[which], VIEWERS)
  try {
    return await look(joints[which], scene)
  } finally {
    scene.close()
    await stop()
  }
}

export async function safetyGoals(): Promise<Goal[]> {
  const naive = await freshly('bare', (joint, scene) => stall(joint, scene, NAIVE_STALL_MS))
  const { ours, toldMs } = await freshly('relay', async (joint, scene) => ({
    ours: await stall(joint, scene, STALL_MS),
    toldMs: await untilTold(scene),
  }))
  const what = `one of ${VIEWERS} stalled ${STALL_MS / 1000} s`
  const beside = `bare object in ${NAIVE_STALL_MS / 1000} s`
  return [
    {
      goal: `P10 frame rate of the others, ${what}`,
      measured: `${ours.framesPerSecond.toFixed(1)} frames/s each`,
      anchor: 'the same before',
      figure: ours.kept,
      bound: '≥ 0.95',
      isMet: ours.kept >= 0.95,
    },
    {
      goal: 'P10 memory',
      measured: `${ours.grownMiB.toFixed(1)} MiB more`,
      anchor: `${beside}: ${naive.grownMiB.toFixed(0)} MiB more`,
      figure: ours.grownMiB,
      bound: '≤ 16 MiB',
      isMet: ours.grownMiB <= 16,
    },
    {
      goal: 'P10 newest frame after the stall',
      measured: `${ours.resumedMs.toFixed(0)} ms`,
      anchor: `${beside}: ${naive.resumedMs.toFixed(0)} ms`,
      figure: ours.resumedMs,
      bound: '≤ 1000 ms',
      isMet: ours.resumedMs <= 1000,
    },
    {
      goal: 'P10 nobody watching',
      measured: `publisher told after ${toldMs.toFixed(0)} ms`,
      anchor: '–',
      figure: toldMs,
      bound: '≤ 2000 ms',
      isMet: toldMs <= 2000,
    },
  ]
}
