import {
  type LogShape,
  SEGMENT_BYTES,
  type SessionFilesRpc,
  segmentKey,
  TAIL_READ_BYTES,
} from '../../durable-objects/session-files/rpc.ts'

export interface LogSource {
  readonly files: Pick<SessionFilesRpc, 'logShape' | 'readTail'>
  readonly blobs: Segments
  readonly runId: string
}

export interface Segments {
  get(
    key: string,
    options: { readonly range: { readonly offset: number; readonly length: number } },
  ): Promise<R2ObjectBody | null>
}

/**
 * The log's bytes of `[start, end)` in order, a piece at a time: what object storage has from there, the rest from the
 * session's object. A piece that moves from one to the other meanwhile is looked for again.
 */
export async function* readLog(
  { files, blobs, runId }: LogSource,
  shape: LogShape,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  let known = shape
  let at = start
  while (at < end) {
    if (at < known.stored) {
      for await (const piece of readSegment(blobs, known, at, Math.min(end, known.stored))) {
        at += piece.byteLength
        yield piece
      }
      continue
    }
    const tail = await files.readTail(runId, at, Math.min(end, at + TAIL_READ_BYTES))
    if (tail === null) {
      const now = await files.logShape(runId)
      if (now === null || now.stored <= at) return
      known = now
      continue
    }
    if (tail.byteLength === 0) return
    at += tail.byteLength
    yield new Uint8Array(tail)
  }
}

async function* readSegment(
  blobs: Segments,
  { prefix }: LogShape,
  from: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  const begin = Math.floor(from / SEGMENT_BYTES) * SEGMENT_BYTES
  const length = Math.min(end, begin + SEGMENT_BYTES) - from
  const object = await blobs.get(segmentKey(prefix, begin), { range: { offset: from - begin, length } })
  if (object === null) throw new Error(`a segment of the log is gone: ${segmentKey(prefix, begin)}`)
  for await (const piece of object.body) yield piece
}

/** @param pieces of an answer whose length is known; what they hold too little is padded by nothing: the stream errors */
export function streamOf(pieces: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    async cancel() {
      await pieces.return(undefined)
    },
  })
}
