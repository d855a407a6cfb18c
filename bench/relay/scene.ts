import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import { encodeFrame } from '../../protocol/stream.ts'
import type { Joint } from './joints.ts'

/** One session on one joint: a publisher and viewers that do with frames what the live page does. */
export interface Scene {
  readonly publisher: WebSocket
  readonly viewers: readonly WebSocket[]
  close(): void
}

export const FRAME_BYTES = 64 * 1024
const image = new Uint8Array(FRAME_BYTES - 13).fill(7)
let sessions = 0

export async function openScene(joint: Joint, count: number): Promise<Scene> {
  const session = `bench-${++sessions}`
  const viewers: WebSocket[] = []
  while (viewers.length < count) viewers.push(await joint.viewer(session))
  const publisher = await joint.publisher(session)
  await sleep(200)
  return {
    publisher,
    viewers,
    close: () => {
      for (const socket of [publisher, ...viewers]) socket.terminate()
    },
  }
}

export function frame(seq: number): Uint8Array {
  return encodeFrame({ seq, capturedAtMs: Date.now(), image })
}

/** Acknowledges as the page does: after the frame was taken. */
export function take(viewer: WebSocket, onFrame: (seq: number) => void): void {
  viewer.on('message', (data: Buffer, isBinary) => {
    if (!isBinary) return
    const seq = data.readUInt32BE(1)
    viewer.send(JSON.stringify({ type: 'ack', seq }))
    onFrame(seq)
  })
}
