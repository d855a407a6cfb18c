import { mkdir, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import { encodeFrame } from '../../protocol/stream.ts'
import { type Goal, median, quantile, table } from '../support/figures.ts'
import { type Bench, type Joint, startJoints } from './joints.ts'

/** P8 to P10: throughput, latency and safety of the relay, against a bare object and node's ws in the same run. */

const ROUNDS = 5
const FRAME_BYTES = 64 * 1024
const FRAMES = 200
/** The next frame is sent when every viewer has the one before, so that none is skipped and every joint does the same work. */
const WINDOW = 1
const PACED_FRAMES = 150
const PACE_MS = 33
const STALL_MS = Number(process.env.BENCH_STALL_SECONDS ?? 60) * 1000

const image = new Uint8Array(FRAME_BYTES - 13).fill(7)
let sessions = 0

function frame(seq: number): Uint8Array {
  return encodeFrame({ seq, capturedAtMs: Date.now(), image })
}

function seqOf(data: Buffer): number {
  return data.readUInt32BE(1)
}

interface Scene {
  readonly publisher: WebSocket
  readonly viewers: readonly WebSocket[]
  close(): void
}

async function scene(joint: Joint, viewers: number): Promise<Scene> {
  const session = `bench-${++sessions}`
  const watching: WebSocket[] = []
  for (let count = 0; count < viewers; count++) watching.push(await joint.viewer(session))
  const publisher = await joint.publisher(session)
  await sleep(100)
  return {
    publisher,
    viewers: watching,
    close: () => {
      for (const socket of [publisher, ...watching]) socket.terminate()
    },
  }
}

/** Acks as the page does: after the frame was taken. */
function take(viewer: WebSocket, onFrame: (seq: number) => void): void {
  viewer.on('message', (data: Buffer, isBinary) => {
    if (!isBinary) return
    const seq = seqOf(data)
    viewer.send(JSON.stringify({ type: 'ack', seq }))
    onFrame(seq)
  })
}

/** @returns frames a second that reached every viewer, with never more than `WINDOW` of them on their way */
async function throughput(joint: Joint, count: number): Promise<number> {
  const { publisher, viewers, close } = await scene(joint, count)
  const began = performance.now()
  await new Promise<void>(resolve => {
    const heard = new Array<number>(FRAMES + 1).fill(0)
    let sent = 0
    let complete = 0
    const pump = () => {
      while (sent < FRAMES && sent - complete < WINDOW) publisher.send(frame(++sent))
    }
    for (const viewer of viewers) {
      take(viewer, seq => {
        heard[seq] = (heard[seq] ?? 0) + 1
        if (heard[seq] !== viewers.length) return
        complete += 1
        if (complete === FRAMES) resolve()
        else pump()
      })
    }
    pump()
  })
  const seconds = (performance.now() - began) / 1000
  close()
  return FRAMES / seconds
}

/** @returns milliseconds from send to receipt at 30 frames a second */
async function latency(joint: Joint): Promise<number[]> {
  const { publisher, viewers, close } = await scene(joint, 1)
  const sentAt = new Map<number, number>()
  const took: number[] = []
  for (const viewer of viewers) take(viewer, seq => took.push(performance.now() - (sentAt.get(seq) ?? 0)))
  for (let seq = 1; seq <= PACED_FRAMES; seq++) {
    sentAt.set(seq, performance.now())
    publisher.send(frame(seq))
    await sleep(PACE_MS)
  }
  await sleep(200)
  close()
  return took
}

/** @returns milliseconds from a viewer's input to the frame that a publisher answers it with */
async function inputToFrame(joint: Joint): Promise<number[]> {
  const { publisher, viewers, close } = await scene(joint, 1)
  const [viewer] = viewers
  if (viewer === undefined) return []
  let seq = 0
  publisher.on('message', (data: Buffer) => {
    if (data.includes('"input"')) publisher.send(frame(++seq))
  })
  const took: number[] = []
  let heard: () => void = () => undefined
  take(viewer, () => heard())
  const event = { kind: 'mouse', action: 'move', x: 1, y: 1 }
  for (let count = 0; count < PACED_FRAMES; count++) {
    const began = performance.now()
    const answered = new Promise<void>(resolve => {
      heard = resolve
    })
    viewer.send(JSON.stringify({ type: 'input', event }))
    await answered
    took.push(performance.now() - began)
    await sleep(10)
  }
  close()
  return took
}

interface Safety {
  readonly keptFps: number
  readonly grownMiB: number
  readonly resumedMs: number
  readonly idleDemandMs: number
}

/** Five viewers at 30 frames a second, one of which reads nothing for a while and then goes on. */
async function safety(joint: Joint, memory: Bench['memory']): Promise<Safety> {
  const { publisher, viewers, close } = await scene(joint, 5)
  const [stalled, ...others] = viewers
  if (stalled === undefined) throw new Error('there are five viewers')
  const counts = others.map(() => 0)
  for (const [at, viewer] of others.entries()) {
    take(viewer, () => {
      counts[at] = (counts[at] ?? 0) + 1
    })
  }
  let newest = 0
  take(stalled, seq => {
    newest = seq
  })
  let seq = 0
  const timer = setInterval(() => publisher.send(frame(++seq)), PACE_MS)
  const fpsOver = async (ms: number) => {
    const before = counts.reduce((sum, count) => sum + count, 0)
    await sleep(ms)
    return (counts.reduce((sum, count) => sum + count, 0) - before) / counts.length / (ms / 1000)
  }
  const usual = await fpsOver(5_000)
  const memoryBefore = memory()
  stalled.pause()
  const during = await fpsOver(STALL_MS)
  const grown = memory() - memoryBefore
  const resumedAt = performance.now()
  const wanted = seq
  stalled.resume()
  while (newest < wanted) await sleep(5)
  const resumedMs = performance.now() - resumedAt
  clearInterval(timer)
  const leftAt = performance.now()
  const idle = new Promise<number>(resolve => {
    publisher.on('message', (data: Buffer) => {
      if (data.includes('"viewers":0')) resolve(performance.now() - leftAt)
    })
  })
  for (const viewer of viewers) viewer.close()
  const idleDemandMs = await Promise.race([idle, sleep(10_000).then(() => Number.POSITIVE_INFINITY)])
  close()
  return { keptFps: during / usual, grownMiB: grown / 1024 / 1024, resumedMs, idleDemandMs }
}

export async function benchRelay(): Promise<Goal[]> {
  const bench = await startJoints()
  const goals: Goal[] = []
  const [relay, bare, node] = bench.joints
  if (relay === undefined || bare === undefined || node === undefined)
    throw new Error('there are three joints')
  try {
    await throughput(relay, 1)
    for (const viewers of [1, 5, 20]) {
      const rates: Record<Joint['name'], number[]> = { relay: [], 'bare object': [], 'node ws': [] }
      for (let round = 0; round < ROUNDS; round++) {
        for (const joint of bench.joints) rates[joint.name].push(await throughput(joint, viewers))
      }
      const ours = median(rates.relay)
      const compare = (name: Joint['name'], least: number) => {
        const anchor = median(rates[name])
        goals.push({
          goal: `P8 throughput, ${viewers} viewers`,
          measured: `${ours.toFixed(0)} frames/s`,
          anchor: `${name} ${anchor.toFixed(0)} frames/s`,
          figure: ours / anchor,
          bound: `≥ ${least}`,
          isMet: ours / anchor >= least,
        })
      }
      compare('bare object', 0.85)
      if (viewers === 20) compare('node ws', 0.35)
    }
    const took: Record<string, number[]> = { relay: [], bare: [] }
    for (let round = 0; round < ROUNDS; round++) {
      took.relay?.push(...(await latency(relay)))
      took.bare?.push(...(await latency(bare)))
    }
    for (const [share, most] of [
      [0.5, 2],
      [0.99, 3],
    ] as const) {
      const ours = quantile(took.relay ?? [], share)
      const anchor = quantile(took.bare ?? [], share)
      goals.push({
        goal: `P9 added hop, p${share * 100}`,
        measured: `${ours.toFixed(2)} ms`,
        anchor: `bare object ${anchor.toFixed(2)} ms`,
        figure: ours / anchor,
        bound: `≤ ${most}`,
        isMet: ours / anchor <= most,
      })
    }
    const answered = quantile(await inputToFrame(relay), 0.95)
    goals.push({
      goal: 'P9 input to frame, p95',
      measured: `${answered.toFixed(1)} ms`,
      anchor: '–',
      figure: answered,
      bound: '≤ 100 ms',
      isMet: answered <= 100,
    })
    const safe = await safety(relay, bench.memory)
    const stall = `one of 5 viewers stalled ${STALL_MS / 1000} s`
    goals.push(
      {
        goal: 'P10 frame rate of the others',
        measured: stall,
        anchor: 'before',
        figure: safe.keptFps,
        bound: '≥ 0.95',
        isMet: safe.keptFps >= 0.95,
      },
      {
        goal: 'P10 memory',
        measured: `${safe.grownMiB.toFixed(1)} MiB more`,
        anchor: 'before',
        figure: safe.grownMiB,
        bound: '≤ 16 MiB',
        isMet: safe.grownMiB <= 16,
      },
      {
        goal: 'P10 newest frame after the stall',
        measured: `${safe.resumedMs.toFixed(0)} ms`,
        anchor: '–',
        figure: safe.resumedMs,
        bound: '≤ 1000 ms',
        isMet: safe.resumedMs <= 1000,
      },
      {
        goal: 'P10 nobody watching',
        measured: `told after ${safe.idleDemandMs.toFixed(0)} ms`,
        anchor: '–',
        figure: safe.idleDemandMs,
        bound: '≤ 2000 ms',
        isMet: safe.idleDemandMs <= 2000,
      },
    )
  } finally {
    await bench.stop()
  }
  return goals
}

const goals = await benchRelay()
console.log(table(goals))
await mkdir('dist/bench', { recursive: true })
await writeFile('dist/bench/relay.json', `${JSON.stringify(goals, null, 2)}\n`)
process.exit(0)
