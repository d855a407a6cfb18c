import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync } from 'node:fs'
import { chmod, lstat, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { kernelBootId } from '../clock.ts'
import type { LastSync } from '../daemon/ledger-types.ts'
import { reasonOf } from '../log.ts'
import { SettingsError } from '../settings-error.ts'
import { readJsonFile, removeDrafts, syncDirectory, writeFileAtomic } from './files.ts'
import { Journal } from './journal.ts'
import { lockStateDirectory, type StateLock } from './lock.ts'

const PRIVATE_DIRECTORY = 0o700
/** The job runs under another user and writes here; the directory above it lets nobody else through. */
const SHARED_DIRECTORY = 0o777

const BootFile = z.object({ boot: z.number().int().min(0) })
/** `instead_of`: hash of the credential that lay there when it was begun; another one now means that it is done. */
const RegistrationFile = z.object({ boot_id: z.string(), instead_of: z.string().nullable().default(null) })
const LastSyncFile = z.object({ kernel: z.string(), sent_at_ms: z.number(), lease_ttl_ms: z.number() })
const CredentialFile = z.object({
  control_plane: z.string(),
  pool_id: z.string(),
  runner_id: z.string(),
  name: z.string(),
  engine_id: z.string(),
  credential: z.string(),
  /** Hash of the token it was given for: another token configured later means the operator wants to register anew. */
  token_hash: z.string().nullable(),
  obtained_at_ms: z.number(),
})
export type StoredCredential = Readonly<z.infer<typeof CredentialFile>>

/** Everything that outlives the daemon. Layout: boot.json, credential.json, last-sync.json, journal/, sessions/, host/. */
export class StateDirectory {
  readonly #path: string
  readonly #lock: StateLock
  readonly journal: Journal

  private constructor(path: string, lock: StateLock) {
    this.#path = path
    this.#lock = lock
    this.journal = new Journal(join(path, 'journal'), kernelBootId())
  }

  /** @throws SettingsError when it cannot be written or another daemon has it */
  static async open(path: string): Promise<StateDirectory> {
    try {
      mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY })
      chmodSync(path, PRIVATE_DIRECTORY)
      for (const name of ['journal', 'sessions', 'host']) {
        mkdirSync(join(path, name), { recursive: true, mode: PRIVATE_DIRECTORY })
      }
    } catch (error) {
      const hint = 'mount a directory there that this user may write'
      throw new SettingsError(`RUNNER_STATE_DIR: ${path} cannot be used (${reasonOf(error)}); ${hint}`)
    }
    const lock = await lockOrExplain(path)
    for (const directory of [path, join(path, 'journal')]) await removeDrafts(directory)
    return new StateDirectory(path, lock)
  }

  release(): void {
    this.#lock.release()
  }

  get hostPath(): string {
    return join(this.#path, 'host')
  }

  get healthPath(): string {
    return join(this.#path, 'health.json')
  }

  /** Raised and on disk before it is returned, so that no two processes ever speak with the same number. */
  async nextBoot(): Promise<number> {
    const boot = (readJsonFile(join(this.#path, 'boot.json'), BootFile)?.boot ?? 0) + 1
    await this.#write('boot.json', { boot }, true)
    return boot
  }

  /**
   * To be called before each registration. It is repeated under one id until its credential is stored, also by a
   * later process. @param bootId this process's own @returns the id to register and to go on under, on disk
   */
  async beginRegistration(bootId: string): Promise<string> {
    const insteadOf = hashOf(this.credential())
    const pending = readJsonFile(join(this.#path, 'registration.json'), RegistrationFile)
    if (pending !== null && pending.instead_of === insteadOf) return pending.boot_id
    await this.#write('registration.json', { boot_id: bootId, instead_of: insteadOf }, true)
    return bootId
  }

  credential(): StoredCredential | null {
    return readJsonFile(join(this.#path, 'credential.json'), CredentialFile)
  }

  async storeCredential(credential: StoredCredential): Promise<void> {
    await this.#write('credential.json', credential, true)
    await rm(join(this.#path, 'registration.json'), { force: true })
    await syncDirectory(this.#path)
  }

  /** Not synced to disk: after a crash of the machine no container runs and the time means nothing. */
  async storeLastSync(lastSync: LastSync): Promise<void> {
    const file = { kernel: kernelBootId(), sent_at_ms: lastSync.sentAtMs, lease_ttl_ms: lastSync.leaseTtlMs }
    await this.#write('last-sync.json', file, false)
  }

  lastSync(): LastSync | null {
    const file = readJsonFile(join(this.#path, 'last-sync.json'), LastSyncFile)
    if (file === null || file.kernel === '' || file.kernel !== kernelBootId()) return null
    return { sentAtMs: file.sent_at_ms, leaseTtlMs: file.lease_ttl_ms }
  }

  sessionFolder(sessionId: string): string {
    return join(this.#path, 'sessions', sessionId)
  }

  async createSessionFolder(sessionId: string): Promise<string> {
    const folder = this.sessionFolder(sessionId)
    for (const path of [folder, join(folder, 'artifacts')]) {
      await mkdir(path, { recursive: true })
      await chmod(path, SHARED_DIRECTORY)
    }
    return folder
  }

  async removeSessionFolder(sessionId: string): Promise<void> {
    const folder = this.sessionFolder(sessionId)
    try {
      await rm(folder, { recursive: true, force: true })
    } catch {
      // A job of this very user can have shut its directories against it.
      await openDirectories(folder)
      await rm(folder, { recursive: true, force: true })
    }
  }

  #write(name: string, value: unknown, durable: boolean): Promise<void> {
    return writeFileAtomic(join(this.#path, name), `${JSON.stringify(value)}\n`, durable)
  }
}

async function lockOrExplain(path: string): Promise<StateLock> {
  try {
    return await lockStateDirectory(path)
  } catch (error) {
    if (error instanceof SettingsError) throw error
    const hint = 'free space there, or mend its permissions'
    throw new SettingsError(`RUNNER_STATE_DIR: ${path} cannot be locked (${reasonOf(error)}); ${hint}`)
  }
}

function hashOf(stored: StoredCredential | null): string | null {
  return stored === null ? null : createHash('sha256').update(stored.credential).digest('hex')
}

async function openDirectories(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return
  await chmod(path, PRIVATE_DIRECTORY)
  for (const name of await readdir(path)) await openDirectories(join(path, name))
}
