import { z } from 'zod'
import { relayEnabled, runnersEnabled } from '../../durable-objects/settings.ts'
import type { ErrorCode, Result } from '../../protocol/errors.ts'
import { refused } from '../../protocol/errors.ts'
import type { Caller, Who } from '../auth/callers.ts'
import type { Guard } from '../auth/guards.ts'
import type { Edge } from '../edge.ts'
import { parseWith, queryOf, readJsonBody } from './input.ts'
import { keyLimit } from './rate-limits.ts'
import type { Reply } from './reply.ts'

/**
 * A route says who may call it, what it takes, what it answers, and what it does. Everything else (the router,
 * the OpenAPI document, the authorization matrix of the tests) is derived from the list of them.
 *
 * The order of decisions is the contract's: who is calling, may they, is the feature on, does the path name
 * anything, and only then is the query and the body looked at.
 */
export interface RouteSpec<
  C extends Caller,
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Answer extends z.ZodType,
> {
  readonly method: Method
  /** OpenAPI form: `/api/v1/pools/{pool_id}`. */
  readonly path: string
  readonly tag: Tag
  readonly summary: string
  readonly guard: Guard<C>
  /** Creates or changes pools, tokens, environments or runs, and so needs the tenant's feature flag. */
  readonly needsFeature?: boolean
  /** Lets somebody watch a run, and so needs the tenant's relay flag. */
  readonly needsRelay?: boolean
  /** Failing to parse means the path names nothing. */
  readonly params?: Params
  readonly query?: Query
  readonly headers?: z.ZodType
  readonly body?: Body
  /** Replaces the plain check against `body` where something must be decided before it. */
  readonly parseBody?: (raw: unknown) => Result<z.output<Body>>
  /** Asked when the body is refused, where the guard alone cannot tell whether the credential is good. */
  readonly confirmCaller?: (call: Call<C>, params: z.output<Params>) => Promise<Result<unknown>>
  readonly statuses: readonly (101 | 200 | 201 | 204)[]
  readonly answer: Answer
  /** Refusals of this route's own; those that follow from the guard and the inputs are added to the document. */
  readonly refusals?: readonly ErrorCode[]
  readonly limit?: AddressLimit
  /** Told how every call has ended, also one that threw. */
  readonly onEnd?: OnEnd
  readonly handle: (
    call: Call<C>,
    input: { params: z.output<Params>; query: z.output<Query>; body: z.output<Body> },
  ) => Promise<Result<Reply<z.input<Answer>>>>
}

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
export type Tag =
  | 'Tenants'
  | 'Sign-in'
  | 'Pools'
  | 'Environments'
  | 'Runs'
  | 'Live view'
  | 'Audit'
  | 'Runner'
  | 'Service'

/** Which calls of a route count against the caller's address. */
export type AddressLimit = 'every_call' | 'failures' | 'refused_credentials' | 'nothing'

/** @param error why it was refused; null when it was answered */
type OnEnd = (edge: Edge, pathParams: Readonly<Record<string, string>>, error: ErrorCode | null) => void

export interface Call<C extends Caller> extends Edge {
  readonly caller: C
}

/** A route with its types folded away: what the router and the document need. */
export interface Route {
  readonly method: Method
  readonly path: string
  readonly who: Who
  readonly needsFeature: boolean
  readonly limit: AddressLimit
  readonly onEnd: OnEnd
  readonly documented: {
    readonly tag: Tag
    readonly summary: string
    readonly params: z.ZodType | undefined
    readonly query: z.ZodType | undefined
    readonly headers: z.ZodType | undefined
    readonly body: z.ZodType | undefined
    readonly statuses: RouteSpec<Caller, z.ZodType, z.ZodType, z.ZodType, z.ZodType>['statuses']
    readonly answer: z.ZodType
    readonly refusals: readonly ErrorCode[]
  }
  run(edge: Edge, pathParams: Readonly<Record<string, string>>): Promise<Result<Reply<unknown>>>
}

const NoInput = z.strictObject({})

/** What an admin misspells is refused; what a runner of a neighbouring version adds is ignored. */
function noQuery(path: string): z.ZodType {
  return path.startsWith('/runner/') ? z.object({}) : NoInput
}

export function defineRoute<
  C extends Caller,
  Answer extends z.ZodType,
  Params extends z.ZodType = typeof NoInput,
  Query extends z.ZodType = typeof NoInput,
  Body extends z.ZodType = z.ZodUnknown,
>(spec: RouteSpec<C, Params, Query, Body, Answer>): Route {
  return {
    method: spec.method,
    path: spec.path,
    who: spec.guard.who,
    needsFeature: spec.needsFeature ?? false,
    limit: spec.limit ?? (spec.guard.who === 'public' ? 'failures' : 'refused_credentials'),
    onEnd: spec.onEnd ?? (() => undefined),
    documented: {
      tag: spec.tag,
      summary: spec.summary,
      params: spec.params,
      query: spec.query,
      headers: spec.headers,
      body: spec.body,
      statuses: spec.statuses,
      answer: spec.answer,
      refusals: spec.refusals ?? [],
    },
    async run(edge, pathParams) {
      const admitted = await spec.guard.admit(edge)
      if (!admitted.ok) return admitted
      const call: Call<C> = { ...edge, caller: admitted.value }
      const allowed = await mayProceed(call, spec)
      if (!allowed.ok) return allowed

      const params = parseWith<z.ZodType>(spec.params ?? NoInput, pathParams)
      if (!params.ok) return refused('not_found', '')
      const known = params.value as z.output<Params>
      const body = await bodyOf(spec, edge.request)
      if (!body.ok) {
        const confirmed = await spec.confirmCaller?.(call, known)
        return confirmed !== undefined && !confirmed.ok ? confirmed : body
      }
      const query = parseWith<z.ZodType>(spec.query ?? noQuery(spec.path), queryOf(edge.url))
      if (!query.ok) return query
      return await spec.handle(call, {
        params: known,
        query: query.value as z.output<Query>,
        body: body.value,
      })
    },
  }
}

async function mayProceed(
  call: Call<Caller>,
  { needsFeature, needsRelay }: { readonly needsFeature?: boolean; readonly needsRelay?: boolean },
): Promise<Result<null>> {
  const limited = await keyLimit(call)
  if (!limited.ok) return limited
  if (call.caller.kind !== 'key') return { ok: true, value: null }
  const { slug } = call.caller.tenant
  if (needsFeature && !runnersEnabled(call.settings, slug)) {
    return refused('feature_disabled', 'Self-hosted runners are off for this tenant.')
  }
  if (needsRelay && !relayEnabled(call.settings, slug)) {
    return refused('feature_disabled', 'Live view is off for this tenant.')
  }
  return { ok: true, value: null }
}

async function bodyOf<Body extends z.ZodType>(
  spec: {
    readonly body?: Body
    readonly parseBody?: (raw: unknown) => Result<z.output<Body>>
  },
  request: Request,
): Promise<Result<z.output<Body>>> {
  if (spec.body === undefined) return { ok: true, value: undefined as z.output<Body> }
  const raw = await readJsonBody(request)
  if (!raw.ok) return raw
  return spec.parseBody === undefined ? parseWith(spec.body, raw.value) : spec.parseBody(raw.value)
}
