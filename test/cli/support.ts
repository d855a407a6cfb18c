import { CommandFailure, type Failure } from '../../cli/failure.ts'
import type { Clock } from '../../cli/runs/wait.ts'
import type { Problem } from '../../protocol/errors.ts'
import type { Run } from '../../protocol/run.ts'

/** A clock that a wait moves on by itself. */
export class TestClock implements Clock {
  readonly slept: number[] = []
  #now = Date.parse('2026-01-01T00:00:00.000Z')

  now(): number {
    return this.#now
  }

  random(): number {
    return 0.5
  }

  async sleep(ms: number, signals: readonly AbortSignal[]): Promise<void> {
    const sleptMs = signals.some(signal => signal.aborted) ? 0 : ms
    this.slept.push(sleptMs)
    this.#now += sleptMs
  }
}

export function runThat(is: Partial<Run> = {}): Run {
  return {
    id: 'run_01kb4yq3v8e9c9v3m2d0f4k6ha',
    environment_id: 'env_01kb4yq3v8e9c9v3m2d0f4k6ha',
    pool_id: 'pol_01kb4yq3v8e9c9v3m2d0f4k6ha',
    status: 'running',
    attempt: 1,
    session_id: 'ses_01kb4yq3v8e9c9v3m2d0f4k6ha',
    runner_id: 'rnr_01kb4yq3v8e9c9v3m2d0f4k6ha',
    image: 'registry.example/agent:v1',
    image_digest: null,
    command: null,
    priority: 0,
    labels: {},
    timeout_seconds: 3600,
    queue_timeout_seconds: 86_400,
    max_attempts: 2,
    resources: {},
    queued_at: '2026-01-01T00:00:00.000Z',
    started_at: '2026-01-01T00:00:10.000Z',
    finished_at: null,
    exit_code: null,
    failure: null,
    stream: { transport: 'relay', state: 'off', viewers: 0 },
    metadata: {},
    ...is,
  }
}

export function unreachable(): CommandFailure {
  return new CommandFailure({ kind: 'unreachable', call: 'GET /x', detail: 'ECONNREFUSED' })
}

export function refused(code: Problem['code'], retryAfterMs = 0): Failure & { kind: 'refused' } {
  const problem = { type: 'about:blank', title: '', status: 400, code, detail: 'no', request_id: 'req_1' }
  return { kind: 'refused', call: 'POST /x', problem, retryAfterMs }
}
