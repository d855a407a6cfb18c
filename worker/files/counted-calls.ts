import type { FollowedRun } from './follow-log.ts'

/** Of one look at a run: who is asking, where the run is, the run itself, and which of its sessions was started last. */
const LOOK_CALLS = 5

/** The same run, whose every call of another service is counted. */
export class CountedCalls {
  calls = 0
  readonly run: FollowedRun

  constructor(run: FollowedRun) {
    this.run = {
      ...run,
      blobs: { get: (key, options) => this.#after(1, () => run.blobs.get(key, options)) },
      files: sessionId => {
        const files = run.files(sessionId)
        return {
          logShape: runId => this.#after(1, () => files.logShape(runId)),
          readTail: (runId, from, to) => this.#after(1, () => files.readTail(runId, from, to)),
          waitForLog: (runId, after, waitMs) => this.#after(1, () => files.waitForLog(runId, after, waitMs)),
        }
      },
      look: () => this.#after(LOOK_CALLS, () => run.look()),
    }
  }

  #after<T>(calls: number, make: () => T): T {
    this.calls += calls
    return make()
  }
}
