import { statfs } from 'node:fs/promises'
import { freemem, loadavg } from 'node:os'
import { z } from 'zod'
import type { Health } from '../../protocol/runner-api.ts'
import { type Clock, jittered, kernelBootId } from '../clock.ts'
import { Complaint } from '../complaint.ts'
import type { Config } from '../config.ts'
import { Latch } from '../latch.ts'
import { type Log, reasonOf } from '../log.ts'
import { writeFileAtomic } from '../state/files.ts'

const MIB = 1024 * 1024
const BEAT_MS = 5_000
/** Several beats: a busy machine is not a dead runner. */
export const HEALTH_STALE_MS = 45_000

/** What the daemon last said about itself, for `runner health` in a process of its own. */
export const HealthFile = z.object({
  kernel: z.string(),
  at_ms: z.number(),
  healthy: z.boolean(),
  reason: z.string(),
})
export type HealthFile = z.infer<typeof HealthFile>

/** What can be in trouble by itself: the one being well says nothing of the other. */
type HealthSubject = 'control_plane' | 'engine' | 'state'

/** The daemon's own view of its health; `reason` says what to look at. */
export class HealthState {
  readonly #changed = new Latch()
  readonly #troubles = new Map<HealthSubject, string>([['control_plane', 'starting']])

  set(subject: HealthSubject, trouble: string | null): void {
    if (trouble === (this.#troubles.get(subject) ?? null)) return
    if (trouble === null) this.#troubles.delete(subject)
    else this.#troubles.set(subject, trouble)
    this.#changed.raise()
  }

  /** Resolves when it has changed, or after `ms`. */
  async next(ms: number, signal: AbortSignal): Promise<void> {
    await this.#changed.wait(ms, signal)
  }

  read(): { healthy: boolean; reason: string } {
    const reasons = [...this.#troubles.values()]
    return { healthy: reasons.length === 0, reason: reasons.join('; ') || 'ok' }
  }
}

export async function healthLoop(
  path: string,
  health: HealthState,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const kernel = kernelBootId()
  const writing = new Complaint(clock, log)
  while (!signal.aborted) {
    const file: HealthFile = { kernel, at_ms: clock.now(), ...health.read() }
    try {
      await writeFileAtomic(path, JSON.stringify(file), false)
      writing.worked()
    } catch (error) {
      writing.failed(
        { error: reasonOf(error) },
        'the state directory cannot be written: free space or mend its permissions',
      )
    }
    await health.next(jittered(BEAT_MS), signal)
  }
}

/** Says that the runner takes no work for want of room, and that it does again. */
export function sayIfFull(
  full: Complaint,
  { disk_free_mb, disk_low }: Pick<Health, 'disk_free_mb' | 'disk_low'>,
  config: Pick<Config, 'RUNNER_STATE_DIR' | 'RUNNER_MIN_DISK_MB'>,
): void {
  if (!disk_low) return full.worked('there is room on the disk again: the runner takes new work')
  const folder = config.RUNNER_STATE_DIR
  const remedy = `free space where ${folder} lies, or set RUNNER_MIN_DISK_MB lower`
  const line = { folder, free_mb: disk_free_mb, RUNNER_MIN_DISK_MB: config.RUNNER_MIN_DISK_MB, remedy }
  full.failed(line, 'too little disk space is free: the runner takes no new work')
}

/** Free memory, disk and load of this host, for the control plane's placement. */
export async function measureHost(stateDirectory: string, minDiskMb: number): Promise<Health> {
  const disk = await statfs(stateDirectory)
  const diskFreeMb = Math.floor((disk.bavail * disk.bsize) / MIB)
  return {
    memory_free_mb: Math.floor(freemem() / MIB),
    disk_free_mb: diskFreeMb,
    load1: loadavg()[0] ?? 0,
    disk_low: diskFreeMb < minDiskMb,
  }
}
