import { z } from 'zod'
import { logLine } from '../../durable-objects/log.ts'
import { DOORBELL_HEADERS } from '../../durable-objects/runner-pool/rpc.ts'
import { accepted, type ErrorCode, type Refusal, type Result, refused } from '../../protocol/errors.ts'
import { PoolId, RunnerId, SessionId } from '../../protocol/ids.ts'
import {
  CredentialResponse,
  RegisterRequest,
  RegisterResponse,
  SyncRequest,
  SyncResponse,
} from '../../protocol/runner-api.ts'
import { hashSecret, mintSecret } from '../../protocol/secrets.ts'
import { RUNNER_PROTOCOL, VERSION } from '../../protocol/version.ts'
import type { RunnerProcess } from '../auth/callers.ts'
import { anyone, poolRunner } from '../auth/guards.ts'
import { noteAudit } from '../edge.ts'
import { parseWith } from '../http/input.ts'
import { created, done, NO_CONTENT } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'
import { isUpgrade, upgradeAt } from '../live/upgrades.ts'
import { registerRunner } from '../runners/register.ts'

const RunnerPath = z.object({ pool_id: PoolId, runner_id: RunnerId })
type RunnerPath = z.output<typeof RunnerPath>
const SessionPath = RunnerPath.extend({ session_id: SessionId })

const RUNNER = '/runner/v1/pools/{pool_id}/runners/{runner_id}'

/** What a runner says. Apart from registration none of it reads or writes D1. */
export const runnerRoutes = [
  defineRoute({
    method: 'post',
    path: '/runner/v1/register',
    tag: 'Runner',
    summary: 'Join a pool with a registration token',
    guard: anyone,
    body: RegisterRequest,
    parseBody: raw => spokenProtocol(raw) ?? parseWith(RegisterRequest, raw),
    statuses: [201],
    answer: RegisterResponse,
    refusals: [
      'unauthenticated',
      'token_revoked',
      'token_expired',
      'feature_disabled',
      'not_found',
      'token_used_up',
      'runner_name_taken',
      'unsupported_protocol',
    ],
    onEnd: (edge, _, error) => {
      // Of the calls that do not get as far as the token, these are of runners and not of anybody.
      if (error === 'unsupported_protocol') edge.metrics?.registrationFailed(null, error)
    },
    async handle(call, { body }) {
      const failed = (error: ErrorCode) => call.metrics?.registrationFailed(body.pool_id, error)
      const registered = await registerRunner(call, body).catch(error => {
        failed('overloaded')
        throw error
      })
      if (!registered.ok) failed(registered.error.code)
      return registered.ok ? accepted(created(registered.value)) : registered
    },
  }),
  defineRoute({
    method: 'post',
    path: `${RUNNER}/sync`,
    tag: 'Runner',
    summary: 'Report everything held, receive everything wanted',
    guard: poolRunner,
    params: RunnerPath,
    body: SyncRequest,
    parseBody: raw => spokenProtocol(raw) ?? parseWith(SyncRequest, raw),
    confirmCaller,
    statuses: [200],
    answer: SyncResponse,
    refusals: ['not_found', 'boot_superseded', 'unsupported_protocol'],
    onEnd: (edge, { pool_id = '' }, error) => edge.metrics?.syncEnded(pool_id, error),
    async handle(call, { params, body }) {
      const { credentialHash } = call.caller
      const began = performance.now()
      const synced = await call.pool(params.pool_id).sync(params.runner_id, credentialHash, body)
      const error = synced.ok ? null : synced.error.code
      call.metrics?.syncTook(params.pool_id, performance.now() - began, error)
      return synced.ok ? accepted(done(synced.value)) : noted(call, params, synced)
    },
  }),
  defineRoute({
    method: 'post',
    path: `${RUNNER}/credential`,
    tag: 'Runner',
    summary: 'Take the next credential; the old one dies when it is first used',
    guard: poolRunner,
    params: RunnerPath,
    statuses: [200],
    answer: CredentialResponse,
    refusals: ['not_found'],
    async handle(call, { params }) {
      const { credentialHash } = call.caller
      const credential = mintSecret('runnerCredential')
      const nextHash = await hashSecret(credential)
      const rotated = await call
        .pool(params.pool_id)
        .rotateCredential(params.runner_id, credentialHash, nextHash)
      if (!rotated.ok) return noted(call, params, rotated)
      noteAudit(call, about(params, 'runner.credential_rotated'))
      return accepted(done({ credential }))
    },
  }),
  defineRoute({
    method: 'post',
    path: `${RUNNER}/deregister`,
    tag: 'Runner',
    summary: 'Leave the pool',
    guard: poolRunner,
    params: RunnerPath,
    statuses: [204],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params }) {
      const left = await call.pool(params.pool_id).deregister(params.runner_id, call.caller.credentialHash)
      if (!left.ok) return noted(call, params, left)
      noteAudit(call, about(params, 'runner.deregistered'))
      return accepted(NO_CONTENT)
    },
  }),
  defineRoute({
    method: 'get',
    path: `${RUNNER}/doorbell`,
    tag: 'Runner',
    summary: 'Websocket that rings when a sync is worth making',
    guard: poolRunner,
    params: RunnerPath,
    statuses: [101],
    answer: z.undefined(),
    refusals: ['not_found'],
    async handle(call, { params }) {
      // Decided before the upgrade, so that every refusal is a problem document.
      const known = await confirmCaller(call, params)
      if (!known.ok) return known
      if (!isUpgrade(call.request)) {
        return refused('invalid_request', 'The doorbell is a websocket: send Upgrade: websocket.')
      }
      const response = await call.pool(params.pool_id).fetch(doorbellRequest(call, params))
      if (response.status === 101) return accepted({ status: 'raw', response })
      return refused('overloaded', 'The pool could not take the doorbell.')
    },
  }),
  defineRoute({
    method: 'get',
    path: `${RUNNER}/sessions/{session_id}/relay`,
    tag: 'Runner',
    summary: "Websocket of a session's publisher",
    guard: poolRunner,
    params: SessionPath,
    statuses: [101],
    answer: z.undefined(),
    refusals: ['not_found', 'session_ended', 'feature_disabled'],
    async handle(call, { params }) {
      const { credentialHash } = call.caller
      const granted = await call
        .pool(params.pool_id)
        .sessionGrant(params.runner_id, credentialHash, params.session_id, 'publish')
      if (!granted.ok) {
        const { runner_id, session_id } = params
        logLine('warn', 'relay_publisher_refused', { session_id, runner_id, code: granted.error.code })
        return noted(call, params, granted)
      }
      if (!isUpgrade(call.request)) {
        return refused('invalid_request', 'The relay is a websocket: send Upgrade: websocket.')
      }
      return await upgradeAt(call, {
        role: 'publisher',
        identity: { ...granted.value, runner_id: params.runner_id },
      })
    },
  }),
]

/** A runner of another protocol is told so before its fields, which may be other ones, are judged. */
function spokenProtocol(raw: unknown): { ok: false; error: Refusal } | null {
  const spoken = z.object({ protocol: z.number() }).safeParse(raw)
  if (!spoken.success || spoken.data.protocol === RUNNER_PROTOCOL) return null
  return refused(
    'unsupported_protocol',
    `This control plane speaks runner protocol ${RUNNER_PROTOCOL}, not ${spoken.data.protocol}: start the runner of its release, v${VERSION}.`,
  )
}

async function confirmCaller(call: Call<RunnerProcess>, params: RunnerPath): Promise<Result<null>> {
  const known = await call
    .pool(params.pool_id)
    .authenticateRunner(params.runner_id, call.caller.credentialHash)
  return known.ok ? known : noted(call, params, known)
}

/** Refused credentials, and processes that a newer one has replaced, are worth a line in the tenant's audit trail. */
function noted(
  call: Call<RunnerProcess>,
  params: RunnerPath,
  result: { ok: false; error: Refusal },
): { ok: false; error: Refusal } {
  const { code } = result.error
  if (code === 'unauthenticated') {
    noteAudit(call, { ...about(params, 'credential.refused'), detail: 'the runner credential is not good' })
  } else if (code === 'boot_superseded') {
    noteAudit(call, about(params, 'runner.boot_superseded'))
  }
  return result
}

function about(params: RunnerPath, action: string) {
  return { tenant: { ofPool: params.pool_id }, actor: params.runner_id, action, target: params.runner_id }
}

/** Only these headers tell the object who rings, so whatever the outside sent under their names is overwritten. */
function doorbellRequest(call: Call<RunnerProcess>, params: RunnerPath): Request {
  const headers = new Headers(call.request.headers)
  headers.delete('authorization')
  headers.set(DOORBELL_HEADERS.runnerId, params.runner_id)
  headers.set(DOORBELL_HEADERS.credentialHash, call.caller.credentialHash)
  return new Request(call.request, { headers })
}
