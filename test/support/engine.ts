import type Docker from 'dockerode'
import { z } from 'zod'
import { findEngine } from '../../scripts/up/engine.ts'
import { ensureSampleImage } from '../../scripts/up/sample-image.ts'
import { until } from './until.ts'

/**
 * The real Docker Engine, where there is one. With CERTYN_REQUIRE_DOCKER=1 its absence is a failure; otherwise
 * the tests that need it are listed as skipped.
 */
const found = await findEngine(process.env.DOCKER_HOST)
if (found.docker === null && process.env.CERTYN_REQUIRE_DOCKER === '1') {
  throw new Error(`CERTYN_REQUIRE_DOCKER=1, but ${found.why}`)
}

export const HAS_ENGINE = found.docker !== null

export function engine(): Docker {
  if (found.docker === null) throw new Error(found.why)
  return found.docker
}

/** The unix socket it listens on. */
export function engineSocket(): string {
  if (found.docker === null) throw new Error(found.why)
  return found.socket
}

/** An image with Node in it and nothing else, made here because there may be no registry. */
export function nodeImage(docker: Docker = engine()): Promise<string> {
  return ensureSampleImage(docker)
}

export interface SessionContainer {
  readonly id: string
  readonly sessionId: string
  readonly state: string
}

/** Session containers of these runners only: others may be using the same Engine. */
export async function sessionContainers(
  runnerIds: readonly string[],
  docker: Docker = engine(),
): Promise<SessionContainer[]> {
  const all = await docker.listContainers({ all: true, filters: { label: ['certyn.session_id'] } })
  return all
    .filter(one => runnerIds.includes(one.Labels['certyn.runner_id'] ?? ''))
    .map(one => ({ id: one.Id, sessionId: one.Labels['certyn.session_id'] ?? '', state: one.State }))
}

export async function noContainersLeft(
  runnerIds: readonly string[],
  docker: Docker = engine(),
): Promise<void> {
  await until(
    'no session container is left',
    async () => (await sessionContainers(runnerIds, docker)).length === 0,
  )
}

/** One time that a session's container ran, as the Engine itself reports it; times in milliseconds of its clock. */
export interface Life {
  readonly sessionId: string
  readonly startedAt: number
  endedAt: number | null
}

const ContainerEvent = z.object({
  Action: z.enum(['start', 'die']),
  Actor: z.object({ Attributes: z.object({ 'certyn.session_id': z.string() }) }),
  timeNano: z.number(),
})

/** What the Engine says of session containers from now on: every life of each, and how often each was started. */
export async function watchStarts(docker: Docker = engine()): Promise<{
  readonly starts: ReadonlyMap<string, number>
  readonly lives: readonly Life[]
  stop(): void
}> {
  const starts = new Map<string, number>()
  const lives: Life[] = []
  const filters = { type: ['container'], event: ['start', 'die'], label: ['certyn.session_id'] }
  const stream = await docker.getEvents({ filters: JSON.stringify(filters) })
  const take = ({ Action, Actor, timeNano }: z.infer<typeof ContainerEvent>) => {
    const sessionId = Actor.Attributes['certyn.session_id']
    const at = timeNano / 1e6
    const last = lives.findLast(life => life.sessionId === sessionId)
    if (Action === 'die') {
      if (last !== undefined) last.endedAt = at
      return
    }
    starts.set(sessionId, (starts.get(sessionId) ?? 0) + 1)
    lives.push({ sessionId, startedAt: at, endedAt: null })
  }
  let rest = ''
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') take(ContainerEvent.parse(JSON.parse(line)))
  })
  return {
    starts,
    lives,
    stop: () => {
      if ('destroy' in stream && typeof stream.destroy === 'function') stream.destroy()
    },
  }
}
