import { Readable } from 'node:stream'
import type Docker from 'dockerode'
import { type LogFrame, LogLines } from '../../collect/log-lines.ts'

/** Stream type, three zero bytes, length of the payload. */
const HEADER_BYTES = 8
/** The Engine cuts output at 16 KiB and puts a time in front; a frame far beyond that is none. */
const FRAME_LIMIT_BYTES = 1024 * 1024
/** The pieces that the Engine cuts a longer line into, all but the last of them. */
const PIECE_BYTES = 16 * 1024
const NEWLINE = 0x0a

/**
 * The output of a container, from the oldest that the Engine has, followed until the Engine ends it.
 * @throws when the connection is lost, and on abort
 */
export async function* containerOutput(
  docker: Docker,
  id: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const options = { follow: true, stdout: true, stderr: true, timestamps: true, abortSignal: signal } as const
  const stream: unknown = await docker.getContainer(id).logs(options)
  if (!(stream instanceof Readable)) throw new Error('the Docker Engine gave no stream of the output')
  yield* linesOf(stream)
}

/** Exported for its tests: lines of the Engine's multiplexed output, as much at once as comes at once. */
export async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const lines = new LogLines()
  let held = Buffer.alloc(0)
  for await (const piece of stream) {
    held = held.length === 0 ? Buffer.from(piece) : Buffer.concat([held, piece])
    const { frames, size } = framesOf(held)
    held = held.subarray(size)
    yield lines.push(frames)
  }
}

/** The whole frames at the beginning of `held`: each is `<time> <bytes>` of one stream. @returns their `size` in all */
function framesOf(held: Buffer): { frames: LogFrame[]; size: number } {
  const frames: LogFrame[] = []
  let from = 0
  while (held.length - from >= HEADER_BYTES) {
    const size = held.readUInt32BE(from + 4)
    if (size > FRAME_LIMIT_BYTES) throw new Error('the output of the container is not framed as expected')
    const end = from + HEADER_BYTES + size
    if (held.length < end) break
    const frame = frameOf(held[from] ?? 0, held.subarray(from + HEADER_BYTES, end))
    if (frame !== null) frames.push(frame)
    from = end
  }
  return { frames, size: from }
}

function frameOf(type: number, payload: Buffer): LogFrame | null {
  const space = payload.indexOf(0x20)
  if (space === -1 || (type !== 1 && type !== 2)) return null
  const at = payload.subarray(0, space).toString('latin1')
  const bytes = endedLine(payload.subarray(space + 1))
  return { stream: type === 2 ? 'stderr' : 'stdout', at, bytes }
}

/** Of a line that it cut, an Engine (20.10, for one) may leave out the newline behind the last piece. */
function endedLine(bytes: Buffer): Buffer {
  const isWhole = bytes.length >= PIECE_BYTES || bytes.at(-1) === NEWLINE
  return isWhole ? bytes : Buffer.concat([bytes, Buffer.of(NEWLINE)])
}
