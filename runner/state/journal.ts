import { readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { RunId, SessionId } from '../../protocol/ids.ts'
import { Exit, Job } from '../../protocol/runner-api.ts'
import { TraceParent } from '../../protocol/trace-context.ts'
import { END_REASONS, type JournalEntry } from '../session-types.ts'
import { readJsonFile, syncDirectory, writeFileAtomic } from './files.ts'

/** One file per session, outside the folder that the job can write to. */

const Entry = z.object({
  kernel: z.string(),
  session_id: SessionId,
  installation_id: z.string(),
  run_id: RunId,
  attempt: z.number().int(),
  step: z.enum(['accepted', 'creating', 'created', 'ended']),
  job: Job,
  offer: z.object({ sentAtMs: z.number(), deadlineMs: z.number() }).nullable(),
  image_digest: z.string().nullable(),
  ending: z.object({ reason: z.enum(END_REASONS), message: z.string() }).nullable(),
  exit: Exit.nullable(),
  started_at: z.string().nullable(),
  // An earlier release did not write it.
  startedAtMs: z.number().nullable().default(null),
  finished_at: z.string().nullable(),
  traceparent: TraceParent.exactOptional(),
})

export class Journal {
  readonly #directory: string
  readonly #kernel: string

  constructor(directory: string, kernel: string) {
    this.#directory = directory
    this.#kernel = kernel
  }

  /** On disk when it resolves. */
  async write(entry: JournalEntry): Promise<void> {
    const text = JSON.stringify({ kernel: this.#kernel, ...entry })
    await writeFileAtomic(this.#path(entry.session_id), `${text}\n`, true)
  }

  async erase(sessionId: string): Promise<void> {
    await rm(this.#path(sessionId), { force: true })
    await syncDirectory(this.#directory)
  }

  /**
   * Times of another boot of the kernel are dropped. A file that is of no use is left where it is, and its container
   * unknown. @returns beside the entries the paths of such files
   */
  restore(): { entries: JournalEntry[]; unusable: string[] } {
    const entries: JournalEntry[] = []
    const unusable: string[] = []
    for (const name of readdirSync(this.#directory)) {
      if (!name.endsWith('.json')) continue
      const path = join(this.#directory, name)
      const file = entryIn(path)
      if (file === null || `${file.session_id}.json` !== name) {
        unusable.push(path)
        continue
      }
      const { kernel, ...entry } = file
      const sameClock = kernel !== '' && kernel === this.#kernel
      entries.push(sameClock ? entry : { ...entry, offer: null, startedAtMs: null })
    }
    return { entries, unusable }
  }

  #path(sessionId: string): string {
    return join(this.#directory, `${sessionId}.json`)
  }
}

function entryIn(path: string): z.infer<typeof Entry> | null {
  try {
    return readJsonFile(path, Entry)
  } catch {
    return null
  }
}
