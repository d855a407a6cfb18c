import { DurableObject } from 'cloudflare:workers'
import { type Result, refused } from '../../protocol/errors.ts'
import type { Artifact, BeginUpload, UploadBegun } from '../../protocol/session-files.ts'
import { logLine, reasonOf } from '../log.ts'
import type { SessionIdentity } from '../session-identity.ts'
import { parseSettings, type Settings } from '../settings.ts'
import { AlarmClock } from '../storage/alarm-clock.ts'
import { append } from './core/log.ts'
import { Growth } from './growth.ts'
import { LogFlush } from './log-flush.ts'
import {
  type AppendResult,
  type Chunk,
  type LogShape,
  type PartPlace,
  SEGMENT_BYTES,
  type SessionFilesRpc,
} from './rpc.ts'
import { type FilesRecord, FilesStore } from './store.ts'
import { Uploads } from './uploads.ts'

/**
 * One object per session takes in what the session leaves: its log in order, its artifacts in parts.
 *
 * What was acknowledged is in this object's storage until object storage has it.
 */

const DAY_MS = 86_400_000
/**
 * A log that nobody went on with for so long will not be completed any more: its rest goes to object storage too. The
 * longest run, which may well be silent all the while, with its start and its stop, and the longest upload window.
 */
const ABANDONED_MS = 2 * DAY_MS + 3_600_000
/**
 * An object that lies idle looks so often, because the retention may have been shortened since: a wake and a row of
 * its alarm four times in a month.
 */
const LOOK_MS = 7 * DAY_MS
const RETRY_MS = 5_000
/** While object storage is down so much is taken in; then the runner, which still has everything, has to wait. */
const BACKLOG_LIMIT_BYTES = 16 * SEGMENT_BYTES
const DELETE_BATCH = 500

export interface SessionFilesEnv {
  readonly BLOBS: R2Bucket
}

export class SessionFiles extends DurableObject<SessionFilesEnv> implements SessionFilesRpc {
  readonly #settings: Settings
  readonly #store: FilesStore
  readonly #alarm: AlarmClock
  readonly #flush: LogFlush
  readonly #growth = new Growth()
  #files: FilesRecord | null = null

  constructor(ctx: DurableObjectState, env: SessionFilesEnv) {
    super(ctx, env)
    const parsed = parseSettings({ ...env })
    if (!parsed.ok) throw new Error(`settings are not valid: ${parsed.problems.join('; ')}`)
    this.#settings = parsed.settings
    this.#store = new FilesStore(ctx.storage.sql)
    this.#alarm = new AlarmClock(ctx.storage)
    this.#flush = new LogFlush({
      blobs: () => this.env.BLOBS,
      store: this.#store,
      files: () => this.#files,
      logPrefix,
      onStored: until => this.#stored(until),
      // What is left to do is done at the alarm.
      onFailure: error => {
        this.#complain('log_not_stored', error)
        this.#alarm.wakeBy(Date.now() + RETRY_MS * (1 + Math.random()))
      },
    })
    ctx.blockConcurrencyWhile(async () => {
      this.#files = this.#store.open()
      if (this.#files === null) return
      if ((await this.#alarm.load()) === null) this.#alarm.wakeBy(Date.now() + RETRY_MS)
      this.#armForLater()
    })
  }

  async append(identity: SessionIdentity, chunk: Chunk): Promise<AppendResult> {
    const files = this.#opened(identity)
    if (files === null) return appendRefused('session_ended', 'the session belongs to another run', 0)
    if (files.kept - files.stored > BACKLOG_LIMIT_BYTES) {
      this.ctx.waitUntil(this.#flush.run())
      return appendRefused('overloaded', 'object storage is not taking logs just now', files.log.length)
    }
    const { offset, bytes, complete } = chunk
    const decided = append(
      files.log,
      { offset, size: bytes.byteLength, complete },
      this.#settings.SelfHosted__LogCapBytes,
    )
    if (decided.kind === 'mismatch') {
      return appendRefused('offset_mismatch', `the log has ${decided.length} bytes so far`, decided.length)
    }
    if (decided.kind === 'keep') this.#keep(files, decided, new Uint8Array(bytes))
    const { length, truncated } = this.#files?.log ?? files.log
    return { ok: true, value: { length, truncated }, tellCut: (truncated || chunk.cut) && !files.cutTold }
  }

  async cutTold(identity: SessionIdentity): Promise<void> {
    const files = this.#opened(identity)
    if (files !== null) this.#save({ ...files, cutTold: true })
  }

  async logShape(runId: string): Promise<LogShape | null> {
    const files = this.#of(runId)
    if (files === null) return null
    return {
      length: files.kept,
      stored: files.stored,
      complete: files.log.complete,
      prefix: logPrefix(files),
    }
  }

  async readTail(runId: string, from: number, to: number): Promise<ArrayBuffer | null> {
    const files = this.#of(runId)
    if (files === null || from < files.stored) return null
    return this.#store.bytes(from, Math.min(to, files.kept)).buffer
  }

  async waitForLog(runId: string, after: number, waitMs: number): Promise<LogShape | null> {
    const files = this.#of(runId)
    if (files === null || (files.kept <= after && !files.log.complete)) await this.#growth.wait(waitMs)
    return await this.logShape(runId)
  }

  async beginUpload(identity: SessionIdentity, wanted: BeginUpload): Promise<Result<UploadBegun>> {
    const uploads = this.#uploads(identity)
    return uploads === null ? OF_ANOTHER : await uploads.begin(wanted)
  }

  async partPlace(identity: SessionIdentity, uploadId: string, part: number): Promise<Result<PartPlace>> {
    return this.#uploads(identity)?.place(uploadId, part) ?? OF_ANOTHER
  }

  async partStored(
    identity: SessionIdentity,
    uploadId: string,
    part: number,
    etag: string,
  ): Promise<Result<{ parts_received: number[] }>> {
    return this.#uploads(identity)?.stored(uploadId, part, etag) ?? OF_ANOTHER
  }

  async completeUpload(identity: SessionIdentity, uploadId: string): Promise<Result<Artifact>> {
    const uploads = this.#uploads(identity)
    if (uploads === null) return OF_ANOTHER
    const completed = await uploads.complete(uploadId)
    if (completed.ok && uploads.hasReplaced) {
      const removed = uploads.removeReplaced().catch(error => {
        this.#complain('artifact_not_removed', error)
        this.#alarm.wakeBy(Date.now() + RETRY_MS)
      })
      this.ctx.waitUntil(removed)
    }
    return completed
  }

  async artifacts(runId: string): Promise<Artifact[]> {
    const files = this.#of(runId)
    return files === null ? [] : this.#uploadsOf(files).list()
  }

  async artifact(runId: string, name: string): Promise<{ artifact: Artifact; key: string } | null> {
    const files = this.#of(runId)
    return files === null ? null : this.#uploadsOf(files).find(name)
  }

  override async alarm(): Promise<void> {
    this.#alarm.disarmed()
    const files = this.#files
    if (files === null) return
    try {
      const now = Date.now()
      if (now >= files.changedAt + this.#settings.SelfHosted__ArtifactRetentionDays * DAY_MS)
        return await this.#erase(files)
      if (now >= files.changedAt + ABANDONED_MS && !files.log.complete) {
        this.#save({ ...files, log: { ...files.log, complete: true } })
      }
      await this.#flush.run()
      await this.#uploadsOf(files).removeReplaced()
    } catch (error) {
      this.#complain('session_files_alarm_failed', error)
      this.#alarm.wakeBy(Date.now() + RETRY_MS)
    }
    this.#armForLater()
  }

  #opened(identity: SessionIdentity): FilesRecord | null {
    if (this.#files === null) {
      this.ctx.storage.transactionSync(() => this.#store.initialise(identity, Date.now()))
      this.#files = this.#store.open()
      this.#armForLater()
    }
    const files = this.#files
    const isSame =
      files !== null &&
      files.tenant_id === identity.tenant_id &&
      files.run_id === identity.run_id &&
      files.session_id === identity.session_id
    return isSame ? files : null
  }

  #of(runId: string): FilesRecord | null {
    return this.#files?.run_id === runId ? this.#files : null
  }

  #uploads(identity: SessionIdentity): Uploads | null {
    const files = this.#opened(identity)
    if (files === null) return null
    this.#save({ ...files, changedAt: Date.now() })
    return this.#uploadsOf(files)
  }

  #uploadsOf(files: FilesRecord): Uploads {
    return new Uploads(this.#store, this.env.BLOBS, `${sessionPrefix(files)}artifacts/`)
  }

  #keep(
    files: FilesRecord,
    {
      take,
      notice,
      log,
    }: { readonly take: number; readonly notice: string | null; readonly log: FilesRecord['log'] },
    bytes: Uint8Array<ArrayBuffer>,
  ): void {
    const said = new Uint8Array(new TextEncoder().encode(notice ?? ''))
    this.ctx.storage.transactionSync(() => {
      if (take > 0) this.#store.addBytes(files.kept, bytes.subarray(0, take))
      if (said.length > 0) this.#store.addBytes(files.kept + take, said)
      this.#save({ ...files, log, kept: files.kept + take + said.length, changedAt: Date.now() })
    })
    this.#armForLater()
    this.ctx.waitUntil(this.#flush.run())
    this.#growth.tell()
  }

  #save(files: FilesRecord): void {
    this.#store.save(files)
    this.#files = files
  }

  #stored(until: number): void {
    const files = this.#files
    if (files === null) return
    this.ctx.storage.transactionSync(() => {
      this.#store.dropBytes(until)
      this.#save({ ...files, stored: until })
    })
  }

  async #erase(files: FilesRecord): Promise<void> {
    const prefix = sessionPrefix(files)
    await this.#uploadsOf(files).abandon()
    for (;;) {
      const { objects } = await this.env.BLOBS.list({ prefix, limit: DELETE_BATCH })
      if (objects.length === 0) break
      await this.env.BLOBS.delete(objects.map(object => object.key))
    }
    this.#files = null
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
  }

  #armForLater(): void {
    const files = this.#files
    if (files === null) return
    const retention = this.#settings.SelfHosted__ArtifactRetentionDays * DAY_MS
    const due = files.changedAt + (files.log.complete ? retention : Math.min(ABANDONED_MS, retention))
    this.#alarm.wakeBy(Math.min(due, Date.now() + LOOK_MS))
  }

  #complain(event: string, error: unknown): void {
    const session_id = this.#files?.session_id ?? ''
    logLine('warn', event, { session_id, reason: reasonOf(error) })
  }
}

const OF_ANOTHER = refused('session_ended', 'the session belongs to another run')

function appendRefused(
  code: 'offset_mismatch' | 'session_ended' | 'overloaded',
  detail: string,
  length: number,
): AppendResult {
  return { ok: false, error: { code, detail }, length }
}

function sessionPrefix({ tenant_id, session_id }: SessionIdentity): string {
  return `ten/${tenant_id}/ses/${session_id}/`
}

function logPrefix(identity: SessionIdentity): string {
  return `${sessionPrefix(identity)}log/`
}
