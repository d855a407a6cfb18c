import type { Spool } from './spool.ts'

/** A new daemon reads a log again from its beginning; this much of it is compared with what is spooled already. */
const COMPARE_BYTES = 256

/**
 * Copies the executor's log into the spool until the log ends.
 *
 * What is spooled already is skipped by its length: the same frames give the same bytes. Where the beginning is gone,
 * because the Engine has thrown its oldest output away, there is no telling what is missing, and the log says so.
 */
export async function fillSpool(log: AsyncIterable<Uint8Array>, spool: Spool): Promise<void> {
  let toSkip = spool.length
  let isCompared = toSkip === 0
  for await (const bytes of log) {
    if (!isCompared) {
      isCompared = true
      const size = Math.min(COMPARE_BYTES, bytes.length, toSkip)
      const before = Buffer.from(await spool.read(0, size))
      if (!before.equals(bytes.subarray(0, size))) {
        toSkip = 0
        await spool.note('the runner was restarted here; part of the output may be missing')
      }
    }
    const skipped = Math.min(toSkip, bytes.length)
    toSkip -= skipped
    await spool.append(bytes.subarray(skipped))
    if (spool.isFull) return
  }
}
