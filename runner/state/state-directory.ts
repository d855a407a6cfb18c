import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { kernelBootId } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import type { LastSync } from '../session-types.ts'
import { SettingsError } from '../settings-error.ts'
import { readStateFile, removeDrafts, syncDirectory, UnusableFile, writeFileAtomic } from './files.ts'
import { Journal } from './journal.ts'
import { lockStateDirectory, type StateLock } from './lock.ts'
import { storageRemedy } from './storage-remedy.ts'
import { removeTree } from './tree.ts'

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

  /** @throws SettingsError when it cannot be used or another daemon has it */
  static async open(path: string): Promise<StateDirectory> {
    try {
      mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY })
      chmodSync(path, PRIVATE_DIRECTORY)
      for (const name of ['journal', 'sessions', 'host']) {
        mkdirSync(join(path, name), { recursive: true, mode: PRIVATE_DIRECTORY })
      }
    } catch (error) {
      throw unusable(path, 'used', error)
    }
    const lock = await lockOrExplain(path)
    try {
      for (const directory of [path, join(path, 'journal')]) await removeDrafts(directory)
    } catch (error) {
      lock.release()
      throw unusable(path, 'used', error)
    }
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
  async nextBoot(log: Pick<Log, 'warn'>): Promise<number> {
    const boot = this.#lastBoot(log) + 1
    await this.#write('boot.json', { boot }, true)
    return boot
  }

  /**
   * To be called before each registration. It is repeated under one id until its credential is stored, also by a
   * later process. @param bootId this process's own @returns the id to register and to go on under, on disk
   */
  async beginRegistration(bootId: string, log: Pick<Log, 'warn'>): Promise<string> {
    const insteadOf = hashOf(this.credential())
    const file = join(this.#path, 'registration.json')
    const pending = readUnlessDamaged(
      file,
      RegistrationFile,
      log,
      'a registration begun earlier is not repeated',
    )
    if (pending !== null && pending.instead_of === insteadOf) return pending.boot_id
    await this.#write('registration.json', { boot_id: bootId, instead_of: insteadOf }, true)
    return bootId
  }

  /** @throws SettingsError when there is one that is of no use */
  credential(): StoredCredential | null {
    return readCredential(this.#path)
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

  /** Null is careful: what no sync is known to have confirmed ends where its offer ended. */
  lastSync(log: Pick<Log, 'warn'>): LastSync | null {
    const path = join(this.#path, 'last-sync.json')
    const instead = 'sessions found running end where their offers ended'
    const file = readUnlessDamaged(path, LastSyncFile, log, instead, () => true)
    if (file === null || file.kernel === '' || file.kernel !== kernelBootId()) return null
    return { sentAtMs: file.sent_at_ms, leaseTtlMs: file.lease_ttl_ms }
  }

  sessionFolder(sessionId: string): string {
    return join(this.#path, 'sessions', sessionId)
  }

  /** Outside the session's folder: the job must not reach its own log. */
  spoolPath(sessionId: string): string {
    return join(this.#path, 'logs', `${sessionId}.log`)
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
    await removeTree(this.sessionFolder(sessionId))
  }

  /**
   * A counter that was lost goes on from the clock, in seconds: ahead of any that was raised once a start. From 0 the
   * control plane would take this process for an older one than the last and have its sessions ended.
   */
  #lastBoot(log: Pick<Log, 'warn'>): number {
    const path = join(this.#path, 'boot.json')
    const file = readUnlessDamaged(path, BootFile, log, 'the number of this start is taken from the clock')
    if (file !== null) return file.boot
    const isFirstStart = !existsSync(path) && !existsSync(join(this.#path, 'credential.json'))
    return isFirstStart ? 0 : Math.floor(Date.now() / 1000)
  }

  #write(name: string, value: unknown, durable: boolean): Promise<void> {
    return writeFileAtomic(join(this.#path, name), `${JSON.stringify(value)}\n`, durable)
  }
}

/** @throws SettingsError when there is one that is of no use: another is registered only if the operator wants it */
export function readCredential(directory: string): StoredCredential | null {
  try {
    return readStateFile(join(directory, 'credential.json'), CredentialFile)
  } catch (error) {
    if (!(error instanceof UnusableFile)) throw error
    const mend = error.isDamaged ? 'restore it from a backup' : 'let this user read it (chown, chmod 600)'
    const hint = `${mend}, or remove it and set REGISTRATION_TOKEN to a new token: the runner registers again then`
    throw new SettingsError(`RUNNER_STATE_DIR: ${error.message}; ${hint}`)
  }
}

async function lockOrExplain(path: string): Promise<StateLock> {
  try {
    return await lockStateDirectory(path)
  } catch (error) {
    throw error instanceof SettingsError ? error : unusable(path, 'locked', error)
  }
}

function unusable(path: string, what: string, error: unknown): SettingsError {
  return new SettingsError(
    `RUNNER_STATE_DIR: ${path} cannot be ${what} (${reasonOf(error)}); ${storageRemedy(error)}`,
  )
}

/**
 * For what can be done without, once it is damaged. What merely cannot be read may be mended any moment.
 * @param instead what follows from doing without @throws UnusableFile when it is not tolerable
 */
function readUnlessDamaged<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
  log: Pick<Log, 'warn'>,
  instead: string,
  isTolerable = (error: UnusableFile) => error.isDamaged,
): z.infer<Schema> | null {
  try {
    return readStateFile(path, schema)
  } catch (error) {
    if (!(error instanceof UnusableFile) || !isTolerable(error)) throw error
    log.warn({ error: error.message }, `a file in RUNNER_STATE_DIR is not heeded: ${instead}`)
    return null
  }
}

function hashOf(stored: StoredCredential | null): string | null {
  return stored === null ? null : createHash('sha256').update(stored.credential).digest('hex')
}
