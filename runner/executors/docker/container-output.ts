import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { type LogFrame, LogLines } from '../../collect/log-lines.ts'

/** Stream type, three zero bytes, length of the payload. */
const HEADER_BYTES = 8
/** The Engine cuts output at 16 KiB and puts a time in front; a frame far beyond that is none. */
const FRAME_LIMIT_BYTES = 1024 * 1024

export interface OutputSource {
  /** The container as it is now; null when there is none. */
  look(): Promise<{ readonly id: string; readonly state: 'created' | 'running' | 'exited' } | null>
  open(id: string): Promise<AsyncIterable<Uint8Array>>
}

/**
 * All output of a container, from its beginning to its end.
 *
 * While a container runs its output is followed; but when it ends, an Engine may end the stream before the last of the
 * output was in it. So it is read once more from a container that has ended, and only what is new is passed on.
 */
export async function* containerOutput(source: OutputSource): AsyncGenerator<Uint8Array> {
  let passed = 0
  let digest = createHash('sha256')
  for (;;) {
    const before = await source.look()
    if (before === null || before.state === 'created') return
    const known = digest.copy().digest('hex')
    const again = createHash('sha256')
    let toSkip = passed
    for await (const bytes of linesOf(await source.open(before.id))) {
      const old = bytes.subarray(0, toSkip)
      toSkip -= old.length
      again.update(old)
      if (old.length > 0 && toSkip === 0 && again.copy().digest('hex') !== known) yield GAP
      const fresh = bytes.subarray(old.length)
      if (fresh.length === 0) continue
      again.update(fresh)
      passed += fresh.length
      yield fresh
    }
    digest = again
    if (before.state === 'exited') return
    const after = await source.look()
    if (after?.state === 'running')
      throw new Error('the Docker Engine ended the output of a container that runs')
  }
}

/** Followed too fast for the Engine's own rotation; it happens to output far beyond what is kept. */
const GAP = Buffer.from(
  '\n--- the output could not be followed in full; part of it may be missing or out of order ---\n',
)

async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const lines = new LogLines()
  for await (const frame of framesOf(stream)) yield lines.push(frame)
}

/** @throws when the connection is lost, and on abort */
export async function openOutput(docker: Docker, id: string, signal: AbortSignal): Promise<Readable> {
  const options = { follow: true, stdout: true, stderr: true, timestamps: true, abortSignal: signal } as const
  const stream: unknown = await docker.getContainer(id).logs(options)
  if (!(stream instanceof Readable)) throw new Error('the Docker Engine gave no stream of the output')
  return stream
}

/** The Engine's multiplexed output taken apart: each frame is `<time> <bytes>` of one stream. */
async function* framesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<LogFrame> {
  let held = Buffer.alloc(0)
  for await (const piece of stream) {
    held = held.length === 0 ? Buffer.from(piece) : Buffer.concat([held, piece])
    let from = 0
    while (held.length - from >= HEADER_BYTES) {
      const size = held.readUInt32BE(from + 4)
      if (size > FRAME_LIMIT_BYTES) throw new Error('the output of the container is not framed as expected')
      if (held.length - from - HEADER_BYTES < size) break
      const payload = held.subarray(from + HEADER_BYTES, from + HEADER_BYTES + size)
      const frame = frameOf(held[from] ?? 0, payload)
      if (frame !== null) yield frame
      from += HEADER_BYTES + size
    }
    held = held.subarray(from)
  }
}

function frameOf(type: number, payload: Buffer): LogFrame | null {
  const space = payload.indexOf(0x20)
  if (space === -1 || (type !== 1 && type !== 2)) return null
  const at = payload.subarray(0, space).toString('latin1')
  return { stream: type === 2 ? 'stderr' : 'stdout', at, bytes: payload.subarray(space + 1) }
}
