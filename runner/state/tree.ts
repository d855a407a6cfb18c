import { randomBytes } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { chmod, type FileHandle, lstat, open, opendir, rename, rm, rmdir, unlink } from 'node:fs/promises'
import { errorCode } from './files.ts'

/**
 * Folders that a job writes to as it likes: nested deeper than any path can say, with names that are no text, with
 * directories that become links while they are walked, or that are shut against this user. So each step goes from a
 * directory that is held open to one name in it and follows no link, and a name is its bytes, one character each.
 */
const NAMES = 'latin1'
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
const PRIVATE_DIRECTORY = 0o700
const BLOCK_BYTES = 512
const GONE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'ELOOP'])
const SHUT: ReadonlySet<string> = new Set(['EACCES', 'EPERM'])
/** So many directories are held open above the one that is looked at; deeper ones are found again by their `..`. */
const HELD_LEVELS = 64

interface Measured {
  readonly bytes: number
  /** False when there is more, shut against this user or moved away from under it. */
  readonly isWhole: boolean
}

interface Level {
  handle: FileHandle | null
  readonly id: string
  /** Names of directories in it that are still to be looked at. */
  readonly ahead: string[]
}

/**
 * What a folder takes on its disk, directories included and hard links once. Files that are deleted and still open
 * have no name to be found by.
 * @param enoughBytes past this nothing more is looked at
 * @throws what keeps this process from looking at all, such as too many open files
 */
export async function measureTree(path: string, enoughBytes: number): Promise<Measured> {
  return new Measurement(enoughBytes).of(path)
}

class Measurement {
  readonly #enoughBytes: number
  readonly #levels: Level[] = []
  readonly #linked = new Set<string>()
  #bytes = 0
  #isWhole = true

  constructor(enoughBytes: number) {
    this.#enoughBytes = enoughBytes
  }

  async of(path: string): Promise<Measured> {
    try {
      await this.#enter(path)
      for (let top = this.#levels.at(-1); top !== undefined; top = this.#levels.at(-1)) {
        if (this.#bytes > this.#enoughBytes) break
        const name = top.ahead.pop()
        if (name !== undefined) await this.#enter(at(top.handle, name))
        else if (!(await this.#leave(top))) break
      }
    } finally {
      for (const { handle } of this.#levels) await handle?.close()
    }
    return { bytes: this.#bytes, isWhole: this.#isWhole }
  }

  async #enter(path: string | Buffer): Promise<void> {
    const handle = await this.#unlessGone(() => open(path, DIRECTORY))
    if (handle === null) return
    const stat = await handle.stat({ bigint: true })
    // Every other directory is counted where it is found.
    if (this.#levels.length === 0) this.#bytes += bytesOf(stat)
    const level: Level = { handle, id: idOf(stat), ahead: [] }
    this.#levels.push(level)
    const above = this.#levels.at(-1 - HELD_LEVELS)
    if (above !== undefined) {
      await above.handle?.close()
      above.handle = null
    }
    await this.#unlessGone(async () => {
      for await (const { name } of await opendir(pathOf(handle), { encoding: NAMES })) {
        const stat = await this.#unlessGone(() => lstat(at(handle, name), { bigint: true }))
        if (stat !== null) this.#count(stat, name, level)
        if (this.#bytes > this.#enoughBytes) return
      }
    })
  }

  #count(stat: BigIntStats, name: string, level: Level): void {
    if (stat.isDirectory()) {
      level.ahead.push(name)
    } else if (stat.nlink > 1n) {
      const id = idOf(stat)
      if (this.#linked.has(id)) return
      this.#linked.add(id)
    }
    this.#bytes += bytesOf(stat)
  }

  /** @returns false when the way up is lost, because a directory was moved or shut while it was walked */
  async #leave(level: Level): Promise<boolean> {
    const above = this.#levels.at(-2)
    if (above !== undefined && above.handle === null) {
      above.handle = await open(at(level.handle, '..'), DIRECTORY).catch(() => null)
      const id = above.handle === null ? null : idOf(await above.handle.stat({ bigint: true }))
      if (id !== above.id) {
        this.#isWhole = false
        return false
      }
    }
    await level.handle?.close()
    this.#levels.pop()
    return true
  }

  /**
   * What is gone since it was listed, or is something else by now, is no part of the folder any more. A job that moves
   * things to and fro can escape one look, but hardly every one.
   */
  async #unlessGone<T>(look: () => Promise<T>): Promise<T | null> {
    try {
      return await look()
    } catch (error) {
      const code = errorCode(error)
      if (SHUT.has(code)) this.#isWhole = false
      else if (!GONE.has(code)) throw error
      return null
    }
  }
}

/**
 * Removes a folder with all that is in it; one that is not there is no error. For a folder that nobody writes to any
 * more: what is added meanwhile makes it fail.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true })
  } catch {
    // Too deep for a path, or shut: slower, and able to do it.
    const top = await openShut(path)
    try {
      await empty(top)
    } finally {
      await top.close()
    }
    await rmdir(path)
  }
}

/** Every directory is moved to the top before it is emptied, so that none is ever deep. */
async function empty(top: FileHandle): Promise<void> {
  const prefix = `.${randomBytes(8).toString('hex')}-`
  let moved = 0
  const directories: string[] = []
  await clear(top, async name => void directories.push(name))
  for (let name = directories.pop(); name !== undefined; name = directories.pop()) {
    const handle = await openShut(at(top, name))
    try {
      await clear(handle, async below => {
        moved += 1
        await rename(at(handle, below), at(top, `${prefix}${moved}`))
        directories.push(`${prefix}${moved}`)
      })
    } finally {
      await handle.close()
    }
    await rmdir(at(top, name))
  }
}

/** @param onDirectory called with the name of each directory that is in it; all else is removed */
async function clear(handle: FileHandle, onDirectory: (name: string) => Promise<void>): Promise<void> {
  for await (const { name } of await opendir(pathOf(handle), { encoding: NAMES })) {
    const path = at(handle, name)
    if (!(await lstat(path)).isDirectory()) {
      await unlink(path)
      continue
    }
    // A directory of this very user can have been shut against it, and then not even be moved.
    await chmod(path, PRIVATE_DIRECTORY)
    await onDirectory(name)
  }
}

async function openShut(path: string | Buffer): Promise<FileHandle> {
  try {
    return await open(path, DIRECTORY)
  } catch (error) {
    if (errorCode(error) !== 'EACCES') throw error
    await chmod(path, PRIVATE_DIRECTORY)
    return open(path, DIRECTORY)
  }
}

function pathOf(handle: FileHandle | null): string {
  if (handle === null) throw new Error('the directory is not open')
  return `/proc/self/fd/${handle.fd}`
}

function at(handle: FileHandle | null, name: string): Buffer {
  return Buffer.from(`${pathOf(handle)}/${name}`, NAMES)
}

function bytesOf({ blocks }: BigIntStats): number {
  return Number(blocks) * BLOCK_BYTES
}

function idOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`
}
