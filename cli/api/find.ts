import type { z } from 'zod'
import { Environment, type Pool, PoolPage, pageOf, Runner } from '../../protocol/admin-api.ts'
import { EnvironmentId, PoolId, RunnerId } from '../../protocol/ids.ts'
import { POOL_PAGE_MAX } from '../../protocol/limits.ts'
import { CommandFailure } from '../failure.ts'
import type { ControlPlane } from './control-plane.ts'
import { pages } from './pages.ts'

/** People say names where the API wants ids. Names need not be unique, so a guess is never made. */

interface Named {
  readonly id: string
  readonly name: string
}

const ALL = { limit: Number.POSITIVE_INFINITY, cursor: null }

export async function poolIdOf(api: ControlPlane, text: string): Promise<string> {
  return isId(PoolId, text) ? text : choose('pool', text, await allPools(api))
}

export async function environmentIdOf(api: ControlPlane, text: string): Promise<string> {
  return isId(EnvironmentId, text) ? text : choose('environment', text, await allEnvironments(api))
}

export async function runnerIdOf(api: ControlPlane, poolId: string, text: string): Promise<string> {
  return isId(RunnerId, text) ? text : choose('runner', text, await allRunners(api, poolId))
}

/** Those that answer. */
export async function allPools(api: ControlPlane): Promise<z.output<typeof Pool>[]> {
  const { items } = await pages(query => api.get('/pools', PoolPage, { query }), ALL, POOL_PAGE_MAX)
  return items
}

export async function allEnvironments(api: ControlPlane): Promise<z.output<typeof Environment>[]> {
  const Answer = pageOf(Environment)
  return (await pages(query => api.get('/environments', Answer, { query }), ALL)).items
}

export async function allRunners(api: ControlPlane, poolId: string): Promise<z.output<typeof Runner>[]> {
  const Answer = pageOf(Runner)
  return (await pages(query => api.get(`/pools/${poolId}/runners`, Answer, { query }), ALL)).items
}

function isId(schema: z.ZodType, text: string): boolean {
  return schema.safeParse(text).success
}

/** @throws CommandFailure unless exactly one has the name */
export function choose(what: string, name: string, candidates: readonly Named[]): string {
  const [found, ...others] = candidates.filter(candidate => candidate.name === name)
  if (found !== undefined && others.length === 0) return found.id
  const detail =
    found === undefined
      ? `no ${what} has the id or the name ${JSON.stringify(name)}`
      : `${others.length + 1} ${what}s are named ${JSON.stringify(name)}, so give an id: ${[found, ...others].map(({ id }) => id).join(', ')}`
  throw new CommandFailure({ kind: 'unknown_name', detail })
}
