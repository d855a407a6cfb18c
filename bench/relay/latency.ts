import { setTimeout as sleep } from 'node:timers/promises'
import { type Goal, median, quantile } from '../support/figures.ts'
import type { Bench, Joint } from './joints.ts'
import { frame, openScene, take } from './scene.ts'

/** P9: what the hop adds at 30 frames a second, and how soon a viewer sees what its input did. */

const ROUNDS = 7
const FRAMES = 120
const PACE_MS = 33

/** @returns milliseconds from the publisher's send to each viewer's receipt */
async function hops(joint: Joint, count: number): Promise<number[]> {
  const { publisher, viewers, close } = await openScene(joint, count)
  const sentAt = new Map<number, number>()
  const took: number[] = []
  for (const viewer of viewers) take(viewer, seq => took.push(performance.now() - (sentAt.get(seq) ?? 0)))
  for (let seq = 1; seq <= FRAMES; seq++) {
    sentAt.set(seq, performance.now())
    publisher.send(frame(seq))
    await sleep(PACE_MS)
  }
  await sleep(200)
  close()
  return took
}

/** @returns milliseconds from a viewer's input to the next frame of a publisher that has 30 a second and heeds it there */
async function inputToFrame(joint: Joint, count: number): Promise<number[]> {
  const { publisher, viewers, close } = await openScene(joint, count)
  const [driver] = viewers
  let seq = 0
  let heeded = false
  /** Frames from this one on show what the input did. */
  let changedFrom = Number.POSITIVE_INFINITY
  publisher.on('message', (data: Buffer) => {
    heeded ||= data.includes('"input"')
  })
  const timer = setInterval(() => {
    seq += 1
    if (heeded) changedFrom = Math.min(changedFrom, seq)
    publisher.send(frame(seq))
  }, PACE_MS)
  let onFrame: (seq: number) => void = () => undefined
  for (const viewer of viewers) take(viewer, got => viewer === driver && onFrame(got))
  const took: number[] = []
  const event = { kind: 'mouse', action: 'move', x: 1, y: 1 }
  for (let inputs = 0; inputs < FRAMES / 2; inputs++) {
    heeded = false
    changedFrom = Number.POSITIVE_INFINITY
    const began = performance.now()
    const changed = new Promise<void>(resolve => {
      onFrame = got => got >= changedFrom && resolve()
    })
    driver?.send(JSON.stringify({ type: 'input', event }))
    await changed
    took.push(performance.now() - began)
    // Not in step with the frames.
    await sleep(7 + (inputs % 5) * 7)
  }
  clearInterval(timer)
  close()
  return took
}

export async function latencyGoals({ joints: { relay, bare } }: Bench): Promise<Goal[]> {
  const goals: Goal[] = []
  for (const count of [1, 20]) {
    const rounds: { ours: number[]; anchor: number[] }[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const isOursFirst = round % 2 === 0
      const first = await hops(isOursFirst ? relay : bare, count)
      const second = await hops(isOursFirst ? bare : relay, count)
      rounds.push(isOursFirst ? { ours: first, anchor: second } : { ours: second, anchor: first })
    }
    goals.push(hopGoal(count, 0.5, 2, rounds), hopGoal(count, 0.99, 3, rounds))
  }
  const answered: number[] = []
  for (let round = 0; round < ROUNDS; round++) answered.push(quantile(await inputToFrame(relay, 20), 0.95))
  const p95 = median(answered)
  goals.push({
    goal: 'P9 input to changed frame, p95, 20 viewers at 30 frames/s',
    measured: `${p95.toFixed(1)} ms, up to 33 of them until the next frame`,
    anchor: '–',
    figure: p95,
    bound: '≤ 100 ms',
    isMet: p95 <= 100,
  })
  return goals
}

function hopGoal(
  count: number,
  share: number,
  most: number,
  rounds: readonly { readonly ours: readonly number[]; readonly anchor: readonly number[] }[],
): Goal {
  const ours = rounds.map(round => quantile(round.ours, share))
  const anchor = rounds.map(round => quantile(round.anchor, share))
  const figure = median(ours.map((took, at) => took / (anchor[at] ?? 0)))
  return {
    goal: `P9 added hop, p${share * 100}, ${count === 1 ? '1 viewer' : `${count} viewers`}`,
    measured: `${median(ours).toFixed(2)} ms`,
    anchor: `bare object ${median(anchor).toFixed(2)} ms`,
    figure,
    bound: `≤ ${most}`,
    isMet: figure <= most,
  }
}
