import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Room for what is said at the end of a log. */
const NOTICE_BYTES = 4096

/**
 * A session's log on this host, until it has been brought to the control plane. It only ever grows, up to its cap, so
 * an offset in it means the same bytes for ever.
 */
export class Spool {
  readonly #file: FileHandle
  readonly #capBytes: number
  #length: number
  #isFull: boolean

  private constructor(file: FileHandle, length: number, capBytes: number) {
    this.#file = file
    this.#length = length
    this.#capBytes = capBytes
    this.#isFull = length > capBytes - NOTICE_BYTES
  }

  /** Goes on with what an earlier process wrote. */
  static async open(path: string, capBytes: number): Promise<Spool> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600)
    return new Spool(file, (await file.stat()).size, capBytes)
  }

  get length(): number {
    return this.#length
  }

  get isFull(): boolean {
    return this.#isFull
  }

  /** Keeps what fits. Once something did not, nothing more is kept and the log says so. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#isFull || bytes.length === 0) return
    const room = this.#capBytes - NOTICE_BYTES - this.#length
    await this.#write(room >= bytes.length ? bytes : bytes.subarray(0, Math.max(0, room)))
    if (room >= bytes.length) return
    this.#isFull = true
    await this.#write(
      Buffer.from(
        `\n--- the log is cut here: this runner keeps ${this.#capBytes} bytes of one (RUNNER_LOG_CAP_MB) ---\n`,
      ),
    )
  }

  /** A line of the runner's own at the end, for which there is room also in a full log. */
  async note(line: string): Promise<void> {
    const last = await this.read(this.#length - 1, 1)
    const isInLine = this.#length > 0 && last[0] !== 0x0a
    const bytes = Buffer.from(`${isInLine ? '\n' : ''}--- ${line} ---\n`)
    if (this.#length + bytes.length <= this.#capBytes) await this.#write(bytes)
  }

  /** @returns up to `size` bytes from `at`, none at the end */
  async read(at: number, size: number): Promise<Uint8Array> {
    const wanted = Buffer.alloc(Math.max(0, Math.min(size, this.#length - at)))
    const { bytesRead } = await this.#file.read(wanted, 0, wanted.length, at)
    return wanted.subarray(0, bytesRead)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  static async remove(path: string): Promise<void> {
    await rm(path, { force: true })
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await this.#file.writeFile(bytes)
    this.#length += bytes.length
  }
}
