import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Room for what is said at the end of a log. */
const NOTICE_BYTES = 16 * 1024

/**
 * A session's log on this host, until it has been brought to the control plane. It only ever grows, up to its cap, so
 * an offset in it means the same bytes for ever. What could not be written whole is written again at the same place.
 */
export class Spool {
  readonly #file: FileHandle
  readonly #capBytes: number
  /** Of the file. */
  #written: number
  #closing = Buffer.alloc(0)
  #isFull: boolean
  #isClosed = false

  private constructor(file: FileHandle, length: number, capBytes: number) {
    this.#file = file
    this.#written = length
    this.#capBytes = capBytes
    this.#isFull = length > capBytes - NOTICE_BYTES
  }

  /** Goes on with what an earlier process wrote. */
  static async open(path: string, capBytes: number): Promise<Spool> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    return new Spool(file, (await file.stat()).size, capBytes)
  }

  get length(): number {
    return this.#written + this.#closing.length
  }

  get isFull(): boolean {
    return this.#isFull
  }

  /** Nothing more comes into it. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Keeps what fits. Once something did not, nothing more is kept and the log says so. */
  async append(bytes: Uint8Array): Promise<void> {
    if (this.#isFull || bytes.length === 0) return
    const room = Math.max(0, this.#capBytes - NOTICE_BYTES - this.#written)
    if (room >= bytes.length) return await this.#write(bytes)
    const cut = `\n--- the log is cut here: this runner keeps ${this.#capBytes} bytes of one (RUNNER_LOG_CAP_MB) ---\n`
    await this.#write(Buffer.concat([bytes.subarray(0, room), Buffer.from(cut)]))
    this.#isFull = true
  }

  /**
   * Lines of the runner's own at the very end, for which there is room also in a full log. They are not in the file:
   * after a restart the same is said again in the same place, and not a second time.
   */
  async close(lines: readonly string[]): Promise<void> {
    const before = lines.length === 0 ? '' : await this.#lineBreak()
    const text = lines.map(line => `--- ${line} ---\n`).join('')
    const room = Math.max(0, this.#capBytes - this.#written)
    this.#closing = Buffer.from(`${before}${text}`).subarray(0, room)
    this.#isClosed = true
  }

  /** @param into room for them, where the caller has some @returns up to `size` bytes from `at`, none at the end */
  async read(at: number, size: number, into?: Buffer): Promise<Buffer> {
    if (at >= this.#written) return this.#closing.subarray(at - this.#written, at - this.#written + size)
    const length = Math.min(size, this.#written - at)
    const wanted = into?.subarray(0, length) ?? Buffer.alloc(length)
    const { bytesRead } = await this.#file.read(wanted, 0, wanted.length, at)
    return wanted.subarray(0, bytesRead)
  }

  async release(): Promise<void> {
    await this.#file.close()
  }

  static async remove(path: string): Promise<void> {
    await rm(path, { force: true })
  }

  async #lineBreak(): Promise<string> {
    if (this.#written === 0) return ''
    const [last] = await this.read(this.#written - 1, 1)
    return last === 0x0a ? '' : '\n'
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#written + done)
      done += bytesWritten
    }
    this.#written += bytes.length
  }
}
