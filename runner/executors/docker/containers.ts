import type Docker from 'dockerode'
import { z } from 'zod'
import { SessionId } from '../../../protocol/ids.ts'
import type { Clock } from '../../clock.ts'
import type { ExitFacts, Found, RunningFacts } from '../../session-types.ts'
import { classifyExit } from './classify-failure.ts'
import { containerName, LABELS } from './template.ts'

/** What an inspected container says about its session. */

/** The Engine's way of saying "never". */
const ZERO_TIME = '0001-01-01T00:00:00Z'
const ALIVE = new Set(['running', 'paused', 'restarting', 'removing'])

const State = z.object({
  Status: z.string(),
  ExitCode: z.number(),
  OOMKilled: z.boolean().default(false),
  Error: z.string().default(''),
  StartedAt: z.string(),
  FinishedAt: z.string(),
})
type ContainerState = z.infer<typeof State>

export function stateOf(made: Docker.ContainerInspectInfo): ContainerState {
  return State.parse(made.State)
}

/** Ours are told by label, installation and name together: cleaning up must never touch anybody else's. */
export function sessionOf(
  container: { readonly names: readonly string[]; readonly labels: Readonly<Record<string, string>> },
  installationId: string,
): string | null {
  if (container.labels[LABELS.installation] !== installationId) return null
  const session = SessionId.safeParse(container.labels[LABELS.session])
  if (!session.success) return null
  return container.names.includes(`/${containerName(session.data)}`) ? session.data : null
}

export function foundOf(made: Docker.ContainerInspectInfo, sessionId: string, clock: Clock): Found {
  const state = stateOf(made)
  const found = { session_id: sessionId, image_digest: null }
  if (ALIVE.has(state.Status)) return { ...found, state: 'running', ...runningFacts(state, clock) }
  if (state.Status === 'created' && state.StartedAt === ZERO_TIME) return { ...found, state: 'created' }
  return { ...found, state: 'exited', ...exitFacts(state, clock) }
}

/**
 * The same from a row of the Engine's list, for a container that cannot be inspected. A row knows the start only as
 * the creation, and nothing of memory or of when it ended.
 */
export function foundInRow(
  row: { readonly State: string; readonly Status: string; readonly Created: number },
  sessionId: string,
  clock: Clock,
): Found {
  const found = { session_id: sessionId, image_digest: null }
  if (row.State === 'created') return { ...found, state: 'created' }
  const started_at = new Date(row.Created * 1000).toISOString()
  if (ALIVE.has(row.State)) {
    return { ...found, state: 'running', started_at, startedAtMs: monotonic(started_at, clock) }
  }
  const code = /^Exited \((\d+)\)/.exec(row.Status)?.[1]
  const unknown = {
    code: null,
    reason: 'engine_error',
    message: `the Engine does not say how the container ended: ${row.Status}`.slice(0, 1000),
  } as const
  const exit = code === undefined ? unknown : classifyExit(Number(code), false, '').exit
  return {
    ...found,
    state: 'exited',
    exit,
    started_at: null,
    finished_at: null,
    finishedAtMs: null,
    notices: [],
  }
}

export function runningFacts(state: ContainerState, clock: Clock): RunningFacts {
  return { started_at: state.StartedAt, startedAtMs: monotonic(state.StartedAt, clock) }
}

export function exitFacts(state: ContainerState, clock: Clock): ExitFacts {
  const { exit, memoryPressure } = classifyExit(state.ExitCode, state.OOMKilled, state.Error)
  const finished = state.FinishedAt === ZERO_TIME ? null : state.FinishedAt
  return {
    exit,
    started_at: state.StartedAt === ZERO_TIME ? null : state.StartedAt,
    finished_at: finished,
    finishedAtMs: finished === null ? null : monotonic(finished, clock),
    notices: memoryPressure && exit.reason !== 'oom' ? ['memory_pressure'] : [],
  }
}

/** The Engine gives wall-clock times; deadlines are on the monotonic clock. */
function monotonic(at: string, clock: Clock): number {
  return Math.round(clock.now() - (clock.wallMs() - Date.parse(at)))
}
