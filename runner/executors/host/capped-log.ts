import { errorCode } from '../../state/files.ts'

/**
 * A session's output, up to a size: what fits is kept, one last line says that the rest is missing, and then nothing
 * more is written. Nothing that was written ever changes, so that the file can be read by offset while it grows.
 */
export class CappedLog {
  readonly #append: (bytes: Uint8Array) => void
  readonly #capMb: number
  #room: number
  #missing: string | null = null
  #isClosed = false

  /** @param append writes all of it, or throws: then the rest of the output is given up, and the command goes on */
  constructor(capMb: number, append: (bytes: Uint8Array) => void) {
    this.#append = append
    this.#capMb = capMb
    this.#room = capMb * 1024 * 1024 - lastLine(this.#whyFull()).length
  }

  write(chunk: Uint8Array): void {
    if (this.#missing !== null) return
    const kept = chunk.subarray(0, this.#room)
    try {
      this.#append(kept)
    } catch (error) {
      this.#missing = errorCode(error) === 'ENOSPC' ? 'the disk was full' : 'it could not be written'
      return
    }
    this.#room -= kept.length
    if (kept.length === chunk.length) return
    this.#missing = this.#whyFull()
    this.end()
  }

  /** Says what is missing. Where the disk is full this is the last chance that it no longer is. */
  end(): void {
    if (this.#missing === null || this.#isClosed) return
    this.#isClosed = true
    try {
      this.#append(lastLine(this.#missing))
    } catch {
      // There is still no room for it.
    }
  }

  #whyFull(): string {
    return `RUNNER_LOG_CAP_MB is ${this.#capMb}`
  }
}

/** It begins a line of its own wherever the output was cut. */
function lastLine(why: string): Buffer {
  return Buffer.from(`\n[certyn] the output was cut here: ${why}\n`)
}
