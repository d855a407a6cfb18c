import type { RunnerStatus } from '../../protocol/admin-api.ts'
import type { RunStatus } from '../../protocol/run.ts'
import { Badge, type Tone } from './badge.tsx'

const RUNNER_TONES: Readonly<Record<RunnerStatus, Tone>> = {
  online: 'good',
  draining: 'warn',
  offline: 'bad',
}

export function RunnerBadge({ status }: { readonly status: RunnerStatus }) {
  return <Badge tone={RUNNER_TONES[status]}>{status}</Badge>
}

const RUN_TONES: Readonly<Record<RunStatus, Tone>> = {
  queued: 'calm',
  offered: 'busy',
  starting: 'busy',
  running: 'busy',
  stopping: 'warn',
  succeeded: 'good',
  failed: 'bad',
  timed_out: 'bad',
  cancelled: 'calm',
  lost: 'bad',
}

export const RUN_WORDS: Readonly<Record<RunStatus, string>> = {
  queued: 'queued',
  offered: 'offered',
  starting: 'starting',
  running: 'running',
  stopping: 'stopping',
  succeeded: 'succeeded',
  failed: 'failed',
  timed_out: 'timed out',
  cancelled: 'cancelled',
  lost: 'lost',
}

export function RunBadge({ status }: { readonly status: RunStatus }) {
  return <Badge tone={RUN_TONES[status]}>{RUN_WORDS[status]}</Badge>
}
