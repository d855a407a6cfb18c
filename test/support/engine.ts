import type Docker from 'dockerode'
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

/** How often containers were started, by session id, as the Engine itself reports it. */
export async function watchStarts(docker: Docker = engine()): Promise<{
  readonly starts: ReadonlyMap<string, number>
  stop(): void
}> {
  const starts = new Map<string, number>()
  const filters = JSON.stringify({ type: ['container'], event: ['start'], label: ['certyn.session_id'] })
  const stream = await docker.getEvents({ filters })
  let rest = ''
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const sessionId = /"certyn\.session_id":"([^"]+)"/.exec(line)?.[1]
      if (sessionId !== undefined) starts.set(sessionId, (starts.get(sessionId) ?? 0) + 1)
    }
  })
  return {
    starts,
    stop: () => {
      if ('destroy' in stream && typeof stream.destroy === 'function') stream.destroy()
    },
  }
}
