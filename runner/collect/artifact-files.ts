import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { ARTIFACT_COUNT_LIMIT, ARTIFACT_LIMIT_BYTES } from '../../protocol/limits.ts'
import { artifactNameProblem } from '../../protocol/session-files.ts'

/** Deeper than any report; a job could nest directories without end. */
const DEPTH_LIMIT = 32
/** Entries looked at in all, kept or not. */
const LOOK_LIMIT = 20_000
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
  | { readonly kind: 'refused'; readonly why: string }

/**
 * What a session left in its artifacts directory. The job may have put anything there: every name is resolved once,
 * from its directory's descriptor, without following links, and only regular files are read, through the descriptor
 * that was looked at. The caller closes each file before it asks for the next.
 */
export async function* artifactFiles(folder: string): AsyncGenerator<Left> {
  const root = await openDirectory(folder)
  if (root === null) return
  const budget = { looks: LOOK_LIMIT, files: ARTIFACT_COUNT_LIMIT }
  try {
    yield* walk(root, '', 0, budget)
  } finally {
    await root.close()
  }
}

async function* walk(
  directory: FileHandle,
  prefix: string,
  depth: number,
  budget: { looks: number; files: number },
): AsyncGenerator<Left> {
  const names = await readdir(at(directory), { encoding: 'buffer' })
  names.sort(Buffer.compare)
  for (const raw of names) {
    if (budget.looks-- <= 0) return yield refused(`${prefix}…`, 'there are too many entries')
    const name = `${prefix}${safeName(raw)}`
    const opened = await openEntry(directory, raw)
    if (opened === null) {
      yield refused(name, 'it is a link, a socket or something else that is no plain file')
      continue
    }
    try {
      const facts = await opened.stat()
      if (facts.isDirectory()) {
        if (depth < DEPTH_LIMIT) yield* walk(opened, `${name}/`, depth + 1, budget)
        else yield refused(name, `it lies deeper than ${DEPTH_LIMIT} directories`)
      } else {
        const problem = facts.isFile() ? problemOf(name, facts.size) : 'it is no plain file'
        if (problem !== null) yield refused(name, problem)
        else if (budget.files-- <= 0)
          return yield refused(name, `a session may leave ${ARTIFACT_COUNT_LIMIT} artifacts`)
        else yield { kind: 'file', artifact: { name, file: opened, hashed: () => hashOf(opened) } }
      }
    } finally {
      await opened.close()
    }
  }
}

function problemOf(name: string, size: number): string | null {
  const problem = artifactNameProblem(name)
  if (problem !== null) return `its name ${problem}`
  return size > ARTIFACT_LIMIT_BYTES ? `it is larger than ${ARTIFACT_LIMIT_BYTES} bytes` : null
}

async function hashOf(file: FileHandle): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256')
  let size = 0
  for (;;) {
    const bytes = await readAt(file, size, CHUNK_BYTES)
    if (bytes.length === 0) return { size, sha256: hash.digest('hex') }
    hash.update(bytes)
    size += bytes.length
  }
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

/** Control characters and bytes that are no UTF-8 are replaced: a name is shown in terminals and pages. */
function safeName(raw: Buffer): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced
  return new TextDecoder().decode(raw).replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\\]/g, '_')
}

function refused(name: string, why: string): Left {
  return { kind: 'refused', why: `the artifact ${JSON.stringify(name.slice(0, 200))} is not kept: ${why}` }
}

/** `O_NONBLOCK`: opening a pipe must not wait for somebody to write into it. */
const LOOK = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

async function openEntry(directory: FileHandle, name: Buffer): Promise<FileHandle | null> {
  const path = Buffer.concat([Buffer.from(`${at(directory)}/`), name])
  return await open(path, LOOK).catch(() => null)
}

async function openDirectory(path: string): Promise<FileHandle | null> {
  return await open(path, LOOK | constants.O_DIRECTORY).catch(() => null)
}

function at(directory: FileHandle): string {
  return `/proc/self/fd/${directory.fd}`
}
