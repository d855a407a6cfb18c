import { createHash } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Artifact } from '../../protocol/session-files.ts'
import { type Stream, unreachable } from '../api/control-plane.ts'
import { backoffMs, isPassing } from '../api/retry.ts'
import { CommandFailure, usage } from '../failure.ts'
import type { Clock } from './wait.ts'

/** Lost connections in a row that bring nothing new. */
const BARREN_LIMIT = 6

export interface DownloadParts {
  /** @param from the first byte wanted */
  open(artifact: Artifact, from: number): Promise<Stream>
  readonly clock: Clock
}

/**
 * Brings one artifact below a folder. It gets its name when it is whole: its size and SHA-256 are the ones the API
 * lists. A connection that is lost is opened again at the byte where it broke.
 *
 * @returns the file
 */
export async function download(parts: DownloadParts, artifact: Artifact, folder: string): Promise<string> {
  const target = path.join(folder, ...artifact.name.split('/'))
  const partial = `${target}.${process.pid}.part`
  try {
    await mkdir(path.dirname(target), { recursive: true })
    await fetchInto(parts, artifact, partial)
    await rename(partial, target)
    return target
  } catch (error) {
    // Why it failed matters more than what cannot be removed.
    await rm(partial, { force: true }).catch(() => undefined)
    if (error instanceof CommandFailure || !(error instanceof Error) || !('syscall' in error)) throw error
    throw usage(`${target}: cannot be written: ${error.message}`)
  }
}

async function fetchInto(parts: DownloadParts, artifact: Artifact, partial: string): Promise<void> {
  const file = await open(partial, 'w')
  try {
    let hash = createHash('sha256')
    let length = 0
    for (let barren = 0; length < artifact.size; ) {
      const before = length
      const stream = await parts.open(artifact, length)
      if (length > 0 && stream.status !== 206) {
        // The whole of it again.
        hash = createHash('sha256')
        length = 0
      }
      const lost = await copy(stream, async bytes => {
        hash.update(bytes)
        await file.write(bytes, 0, bytes.byteLength, length)
        length += bytes.byteLength
      })
      if (length >= artifact.size) break
      barren = length > before ? 1 : barren + 1
      const { failure } = lost ?? unreachable(artifact.name, new Error('the answer ended early'))
      if (barren >= BARREN_LIMIT || !isPassing(failure)) throw new CommandFailure(failure)
      await parts.clock.sleep(backoffMs(barren, failure, parts.clock.random), [])
    }
    if (length !== artifact.size || hash.digest('hex') !== artifact.sha256) {
      const detail = `answered 200: ${artifact.name} is not what the list says it is`
      throw new CommandFailure({ kind: 'unexpected', call: 'GET …/artifacts', status: 200, detail })
    }
  } finally {
    await file.close()
  }
}

/** @returns why it broke, or null when it came to its end @throws what writing throws */
async function copy(
  { body }: Stream,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<CommandFailure | null> {
  const pieces = body[Symbol.asyncIterator]()
  for (;;) {
    let next: IteratorResult<Uint8Array>
    try {
      next = await pieces.next()
    } catch (error) {
      return unreachable('GET …/artifacts', error)
    }
    if (next.done) return null
    await write(next.value)
  }
}
