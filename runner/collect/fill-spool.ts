import { timeOfLine } from './log-lines.ts'
import type { Spool } from './spool.ts'

/** Where the time of the last line is looked for; an output without a line end for so long counts as having none. */
const TAIL_BYTES = 2 * 1024 * 1024
const NEWLINE = 0x0a

export interface Filled {
  readonly hasRead: boolean
  /** False when something between what is spooled is missing. */
  readonly isWhole: boolean
}

/**
 * Copies the executor's log into the spool until the log ends, leaving out what is spooled already: the same output
 * gives the same bytes. An Engine may have thrown its oldest output away, or have left something out when it was
 * followed: then the bytes differ, and only the lines behind the last one are new.
 */
export async function fillSpool(log: AsyncIterable<Uint8Array>, spool: Spool): Promise<Filled> {
  const overlap = new Overlap(spool)
  let hasRead = spool.isFull
  if (spool.isFull) return { hasRead, isWhole: true }
  for await (const bytes of log) {
    if (bytes.length === 0) continue
    hasRead = true
    await spool.append(await overlap.newOf(bytes))
    if (spool.isFull) break
  }
  return { hasRead, isWhole: overlap.isWhole }
}

class Overlap {
  isWhole = true
  readonly #spool: Spool
  /** So much was spooled before. */
  readonly #length: number
  #same = 0
  #endsLine = true
  #skip: ((bytes: Uint8Array) => Uint8Array) | null = null
  /** Used again and again: whole logs pass through here. */
  #room = Buffer.alloc(0)

  constructor(spool: Spool) {
    this.#spool = spool
    this.#length = spool.length
  }

  async newOf(bytes: Uint8Array): Promise<Uint8Array> {
    if (this.#skip !== null) return this.#skip(bytes)
    const size = Math.min(bytes.length, this.#length - this.#same)
    if (size === 0) return bytes
    if (this.#room.length < size) this.#room = Buffer.alloc(size)
    const before = await this.#spool.read(this.#same, size, this.#room)
    if (!before.equals(bytes.subarray(0, size))) return (await this.#differ(bytes))(bytes)
    this.#same += size
    this.#endsLine = bytes.at(-1) === NEWLINE
    return bytes.subarray(size)
  }

  async #differ(bytes: Uint8Array): Promise<(bytes: Uint8Array) => Uint8Array> {
    const last = await lastLine(this.#spool)
    const begins = timeOfLine(bytes, 0)
    const reachesBack = last.time !== null && begins !== null && begins <= last.time && last.isWhole
    // From the first byte on: what is gone at its beginning is spooled.
    this.isWhole = this.#same === 0 && reachesBack
    this.#skip = last.time === null ? one => one : skipUntil(last.time, !this.#endsLine)
    return this.#skip
  }
}

/** Lines up to that time, whole ones: the beginning of a line is never cut apart between two pieces of a log. */
function skipUntil(time: string, beginsInLine: boolean): (bytes: Uint8Array) => Uint8Array {
  let isSkipping = true
  let isInLine = beginsInLine
  return bytes => {
    for (let at = 0; isSkipping && at < bytes.length; ) {
      if (!isInLine) {
        const own = timeOfLine(bytes, at)
        isSkipping = own !== null && own <= time
        if (!isSkipping) return bytes.subarray(at)
      }
      const newline = bytes.indexOf(NEWLINE, at)
      isInLine = newline === -1
      at = isInLine ? bytes.length : newline + 1
    }
    return isSkipping ? new Uint8Array() : bytes
  }
}

async function lastLine(spool: Spool): Promise<{ time: string | null; isWhole: boolean }> {
  const from = Math.max(0, spool.length - TAIL_BYTES)
  const tail = await spool.read(from, TAIL_BYTES)
  const isWhole = tail.at(-1) === NEWLINE
  for (let end = tail.length - 1; end > 0; ) {
    const start = tail.lastIndexOf(NEWLINE, end - 1) + 1
    const time = start === 0 && from > 0 ? null : timeOfLine(tail, start)
    if (time !== null) return { time, isWhole }
    end = start - 1
  }
  return { time: null, isWhole }
}
