import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, opendir } from 'node:fs/promises'
import {
  ARTIFACT_COUNT_LIMIT,
  ARTIFACT_LIMIT_BYTES,
  ARTIFACTS_TOTAL_LIMIT_BYTES,
} from '../../protocol/limits.ts'
import { artifactNameProblem } from '../../protocol/session-files.ts'
import { errorCode } from '../state/files.ts'
import { artifactNames, type EntryName, NAMES, quoted } from './artifact-names.ts'

/** Deeper than any report; a job could nest directories without end. */
const DEPTH_LIMIT = 32
/** Entries looked at in all, kept or not. */
const LOOK_LIMIT = 10_000
const CHUNK_BYTES = 1024 * 1024

export interface ArtifactFile {
  readonly name: string
  /** The open file, whatever its name stands for by now. */
  readonly file: FileHandle
  /** Reads all of it. */
  hashed(): Promise<{ readonly size: number; readonly sha256: string }>
}

export type Left =
  | { readonly kind: 'file'; readonly artifact: ArtifactFile }
  /** Something is not kept, or not as it was called. */
  | { readonly kind: 'remark'; readonly text: string }

/**
 * What a session left in its artifacts directory. The job may have put anything there: every name is resolved once,
 * from its directory's descriptor, without following links, and only regular files are read, through the descriptor
 * that was looked at. The same directory gives the same again. The caller is done with a file before it asks for the
 * next.
 * @throws what keeps this process from looking, such as too many open files
 */
export async function* artifactFiles(folder: string): AsyncGenerator<Left> {
  const root = await openEntry(folder, constants.O_DIRECTORY)
  if (root === GONE) return
  if (typeof root === 'string') return yield remark('.', 'the directory was replaced by something else')
  try {
    const walk = new Walk()
    yield* walk.into(root, '', 0)
    if (walk.isOver) yield { kind: 'remark', text: `artifacts beyond ${LOOK_LIMIT} are not looked at` }
  } finally {
    await root.close()
  }
}

class Walk {
  isOver = false
  #looks = LOOK_LIMIT
  #files = ARTIFACT_COUNT_LIMIT
  #bytes = ARTIFACTS_TOTAL_LIMIT_BYTES

  async *into(directory: FileHandle, prefix: string, depth: number): AsyncGenerator<Left> {
    for (const entry of artifactNames(await this.#list(directory))) {
      if (entry.isChanged) yield { kind: 'remark', text: renamed(prefix, entry) }
      yield* this.#entry(directory, entry.raw, `${prefix}${entry.name}`, depth)
    }
  }

  async #list(directory: FileHandle): Promise<string[]> {
    const names: string[] = []
    for await (const { name } of await opendir(at(directory), { encoding: NAMES, bufferSize: 1024 })) {
      this.isOver = this.#looks === 0
      if (this.isOver) break
      this.#looks -= 1
      names.push(name)
    }
    return names
  }

  async *#entry(directory: FileHandle, raw: string, name: string, depth: number): AsyncGenerator<Left> {
    const entry = await openEntry(Buffer.from(`${at(directory)}/${raw}`, NAMES))
    if (typeof entry === 'string') return yield remark(name, entry)
    try {
      const facts = await entry.stat()
      if (!facts.isDirectory()) yield this.#file(entry, name, facts)
      else if (depth < DEPTH_LIMIT) yield* this.into(entry, `${name}/`, depth + 1)
      else yield remark(name, `it lies deeper than ${DEPTH_LIMIT} directories`)
    } finally {
      await entry.close()
    }
  }

  #file(file: FileHandle, name: string, facts: { isFile(): boolean; readonly size: number }): Left {
    const { size } = facts
    const problem = facts.isFile() ? this.#problemOf(name, size) : 'it is a pipe or something else unreadable'
    if (problem !== null) return remark(name, problem)
    this.#files -= 1
    this.#bytes -= size
    return { kind: 'file', artifact: { name, file, hashed: () => hashOf(file, size) } }
  }

  #problemOf(name: string, size: number): string | null {
    const problem = artifactNameProblem(name)
    if (problem !== null) return `its name ${problem}`
    if (size > ARTIFACT_LIMIT_BYTES) return `it is larger than ${ARTIFACT_LIMIT_BYTES} bytes`
    if (size > this.#bytes) return `a session may leave ${ARTIFACTS_TOTAL_LIMIT_BYTES} bytes in all`
    return this.#files > 0 ? null : `a session may leave ${ARTIFACT_COUNT_LIMIT} artifacts`
  }
}

/** No further than it was when it was looked at: whatever still writes to it must not keep us here. */
async function hashOf(file: FileHandle, limit: number): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256')
  let size = 0
  while (size < limit) {
    const bytes = await readAt(file, size, Math.min(CHUNK_BYTES, limit - size))
    if (bytes.length === 0) break
    hash.update(bytes)
    size += bytes.length
  }
  return { size, sha256: hash.digest('hex') }
}

/** @returns up to `size` bytes from `at`; fewer only at the end of the file */
export async function readAt(file: FileHandle, at: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size)
  let filled = 0
  while (filled < size) {
    const { bytesRead } = await file.read(bytes, filled, size - filled, at + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return bytes.subarray(0, filled)
}

function remark(name: string, why: string): Left {
  return { kind: 'remark', text: `the artifact ${quoted(name)} is not kept: ${why}` }
}

function renamed(prefix: string, { name, shown }: EntryName): string {
  return `the artifact ${quoted(`${prefix}${shown}`)} is kept as ${quoted(`${prefix}${name}`)}`
}

const GONE = 'it is gone'
/** What opening says of an entry that is none of ours to read; everything else is this process's own trouble. */
const REFUSALS: Readonly<Record<string, string>> = {
  ELOOP: 'it is a link',
  ENXIO: 'it is a socket or a device',
  ENODEV: 'it is a device',
  EACCES: 'this runner may not read it',
  EPERM: 'this runner may not read it',
  ENOTDIR: 'it is a link',
  ENOENT: GONE,
}

/** `O_NONBLOCK`: opening a pipe must not wait for somebody to write into it. */
const LOOK = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** @returns the open entry, or why it is not to be had */
async function openEntry(path: string | Buffer, more = 0): Promise<FileHandle | string> {
  try {
    return await open(path, LOOK | more)
  } catch (error) {
    const why = REFUSALS[errorCode(error)]
    if (why === undefined) throw error
    return why
  }
}

function at(directory: FileHandle): string {
  return `/proc/self/fd/${directory.fd}`
}
