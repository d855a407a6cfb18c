import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs'

/** Holds what a session's files say at their longest: a message of 1,000 characters, each escaped. */
const RESERVED_BYTES = 8_192

/**
 * One small JSON file whose room on the disk is taken before it is known what it will say, so that a disk that is full
 * by then cannot keep it from being written. It appears as a whole or not at all; spaces that remain are no harm.
 */
export class ReservedFile {
  readonly #path: string
  readonly #draft: string

  private constructor(path: string, draft: string) {
    this.#path = path
    this.#draft = draft
  }

  /** @throws when the room cannot be had */
  static reserve(path: string): ReservedFile {
    const draft = `${path}.${randomBytes(6).toString('hex')}`
    const file = openSync(draft, 'wx', 0o600)
    try {
      writeFileSync(file, ' '.repeat(RESERVED_BYTES))
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    return new ReservedFile(path, draft)
  }

  /** On disk when it returns. May be repeated after it threw. */
  write(value: unknown): void {
    const file = openSync(this.#draft, 'r+')
    try {
      writeFileSync(file, JSON.stringify(value))
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(this.#draft, this.#path)
  }
}
