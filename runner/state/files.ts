import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { z } from 'zod'
import { parseJson } from '../../protocol/json.ts'
import { reasonOf } from '../log.ts'

const PRIVATE_FILE = 0o600
const DRAFT_SUFFIX = '.tmp'

/**
 * Replaces a file as a whole: a reader, or a process after a crash, sees the old content or the new.
 * @param durable also survive a crash of the machine, not only of the process
 */
export async function writeFileAtomic(path: string, text: string, durable: boolean): Promise<void> {
  const draft = draftOf(path)
  try {
    const file = await open(draft, 'wx', PRIVATE_FILE)
    try {
      await file.writeFile(text)
      if (durable) await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined)
    throw error
  }
  if (durable) await syncDirectory(dirname(path))
}

/**
 * Of several processes that try, one makes the file; whoever sees it sees all of it, also when the disk was full.
 * Survives a crash of the process, not of the machine. @throws EEXIST for the others
 */
export function createFileAtomic(path: string, text: string): void {
  const draft = draftOf(path)
  try {
    writeFileSync(draft, text, { flag: 'wx', mode: PRIVATE_FILE })
    linkSync(draft, path)
  } finally {
    rmSync(draft, { force: true })
  }
}

function draftOf(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}${DRAFT_SUFFIX}`
}

/** Removes what processes left that were killed while they wrote; for the only process that writes there now. */
export async function removeDrafts(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.endsWith(DRAFT_SUFFIX)) await rm(join(directory, name), { force: true })
  }
}

/** Makes a rename or a deletion inside the directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** @returns null when there is no such file or its content is not what was expected */
export function readJsonFile<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema> | null {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
  const json = parseJson(text)
  const parsed = schema.safeParse(json.ok ? json.value : undefined)
  return parsed.success ? parsed.data : null
}

/** A file of this program's own that is there and of no use. */
export class UnusableFile extends Error {
  readonly isDamaged: boolean

  constructor(path: string, isDamaged: boolean, why: string) {
    super(isDamaged ? `${path} is damaged: ${why}` : `${path} cannot be read (${why})`)
    this.isDamaged = isDamaged
  }
}

/**
 * For what must not be mistaken for missing. The caller is the only process that writes there.
 * @returns null when there is no such file @throws UnusableFile
 */
export function readStateFile<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): z.infer<Schema> | null {
  let value: z.infer<Schema> | null
  try {
    value = readJsonFile(path, schema)
  } catch (error) {
    throw new UnusableFile(path, false, reasonOf(error))
  }
  if (value === null && existsSync(path)) {
    throw new UnusableFile(path, true, 'it does not hold what this program writes there')
  }
  return value
}

export function isMissing(error: unknown): boolean {
  return errorCode(error) === 'ENOENT'
}

/** What the system calls the error, such as ENOSPC; empty where it is none of the system's. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
