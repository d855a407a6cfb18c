import { createHash } from 'node:crypto'
import type { ErrorCode } from '../../protocol/errors.ts'
import type { RegisterRequest } from '../../protocol/runner-api.ts'
import { backoffMs } from '../api/backoff.ts'
import { errorTypeOf, explain } from '../api/classify.ts'
import type { ApiClient, ApiFailure } from '../api/client.ts'
import { type Clock, jittered, sleep, stopwatch } from '../clock.ts'
import { Complaint, OUTAGE_REPEAT_MS } from '../complaint.ts'
import { type Config, readRegistrationToken } from '../config.ts'
import { type Log, reasonOf } from '../log.ts'
import { SettingsError } from '../settings-error.ts'
import type { StateDirectory, StoredCredential } from '../state/state-directory.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import type { HealthState } from './health.ts'
import { untilStored } from './storing.ts'

/** A name is free again once its holder is offline, which takes 45 s at least. */
const NAME_TAKEN_CAP_MS = 30_000
/** What only an operator can mend is looked at again now and then, because he may mend it on the other side. */
const OPERATOR_RETRY_MS = 300_000
/** Looking at a file costs nothing. */
const TOKEN_FILE_CAP_MS = 10_000
const TOKEN_FILE_LOOK_MS = 2_000

/** What to do about a refusal that does not pass by itself. */
const REMEDIES: Partial<Record<ErrorCode, string>> = {
  unauthenticated:
    'the control plane does not know REGISTRATION_TOKEN for this pool: check it and RUNNER_POOL_ID, or create a new token',
  token_expired: 'create a new registration token in the pool and set REGISTRATION_TOKEN',
  token_revoked: 'create a new registration token in the pool and set REGISTRATION_TOKEN',
  token_used_up: 'create a new registration token in the pool and set REGISTRATION_TOKEN',
  not_found: 'there is no such pool: check RUNNER_POOL_ID and CONTROL_PLANE_URL',
  feature_disabled: 'self-hosted runners are off for this tenant: enable Features__SelfHostedRunnersEnabled',
  unsupported_protocol:
    'this runner’s release is not supported by the control plane: use the release it names',
  invalid_request: 'the control plane refused the fields named here',
}

export interface RegistrationParts {
  readonly api: Pick<ApiClient, 'register'>
  readonly config: Config
  readonly state: Pick<StateDirectory, 'storeCredential'>
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  readonly engineId: string
  readonly request: Omit<RegisterRequest, 'registration_token'>
  /** Shows what is in the way while it lasts. */
  readonly health: HealthState
  readonly metrics: Pick<RunnerMetrics, 'registrationFailed'>
}

/**
 * Registers, however long it takes. The request is the same each time, so a repeat after a lost reply is the same
 * registration. @returns null on abort
 * @throws SettingsError when no token is configured
 */
export async function register(
  parts: RegistrationParts,
  signal: AbortSignal,
): Promise<StoredCredential | null> {
  const { api, clock, config, health, log, metrics, request, state } = parts
  const outage = new Complaint(clock, log, OUTAGE_REPEAT_MS)
  for (let failures = 1; !signal.aborted; failures++) {
    const token = await readableToken(parts, failures, signal)
    if (token === null) continue
    const result = await api.register({ ...request, registration_token: token }, signal)
    if (signal.aborted) return null
    if (result.ok) {
      const { runner_id, credential } = result.value
      const stored = storedCredential(parts, token, runner_id, credential)
      const store = () => state.storeCredential(stored)
      if ((await untilStored('the credential', store, parts, signal)) === null) return null
      log.info({ runner_id, pool_id: config.RUNNER_POOL_ID, name: request.name }, 'registered')
      return stored
    }
    metrics.registrationFailed(errorTypeOf(result.failure))
    health.set('control_plane', `registration failed: ${explain(result.failure)}`)
    await untilOtherToken(config, token, complain(parts, outage, result.failure, failures), signal)
  }
  return null
}

/** A file that is not there yet, or not readable yet, is waited for. @returns null after such a wait */
async function readableToken(
  { config, health, log }: RegistrationParts,
  failures: number,
  signal: AbortSignal,
): Promise<string | null> {
  let trouble = `REGISTRATION_TOKEN_FILE: ${config.REGISTRATION_TOKEN_FILE} is empty`
  try {
    const token = readRegistrationToken(config)
    if (token === null) {
      throw new SettingsError('REGISTRATION_TOKEN: is required, because this runner has no credential yet')
    }
    if (token !== '') return token
  } catch (error) {
    if (config.REGISTRATION_TOKEN_FILE === null) throw error
    trouble = reasonOf(error)
  }
  const remedy = 'put the registration token into that file, readable for this user'
  log.error({ error: trouble, remedy }, 'there is no registration token to register with; looking again')
  health.set('control_plane', trouble)
  await sleep(backoffMs(failures, 500, Math.random, TOKEN_FILE_CAP_MS), signal)
  return null
}

/** Resolves after `ms`, or when the file holds another token than the one that was refused. */
async function untilOtherToken(
  config: Config,
  refused: string,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  const waited = stopwatch()
  const isOther = () => {
    try {
      const token = readRegistrationToken(config)
      return token !== '' && token !== refused
    } catch {
      // The next attempt says why there is none.
      return false
    }
  }
  while (!signal.aborted && waited() < ms && !isOther()) {
    await sleep(Math.min(TOKEN_FILE_LOOK_MS, ms - waited()), signal)
  }
}

export function tokenHash(token: string | null): string | null {
  return token === null ? null : createHash('sha256').update(token).digest('hex')
}

/** @returns how long to wait before the next attempt */
function complain(
  { config, request }: RegistrationParts,
  outage: Complaint,
  failure: ApiFailure,
  failures: number,
): number {
  const error = explain(failure)
  const about = { error, control_plane: config.CONTROL_PLANE_URL.href, pool_id: config.RUNNER_POOL_ID }
  const code = failure.kind === 'refused' ? failure.problem.code : null
  const remedy = code === null ? undefined : REMEDIES[code]
  if (remedy !== undefined) {
    const fields = failure.kind === 'refused' ? failure.problem.errors : undefined
    outage.failed(
      { ...about, code, fields, remedy },
      'registration failed and will not succeed until this is put right',
      'error',
    )
    return jittered(OPERATOR_RETRY_MS)
  }
  const retryAfterMs = failure.kind === 'unreachable' ? 0 : failure.retryAfterMs
  const taken = code === 'runner_name_taken'
  const pauseMs = backoffMs(failures, retryAfterMs, Math.random, taken ? NAME_TAKEN_CAP_MS : undefined)
  const hint = taken
    ? `another runner named ${request.name} is online; if it is gone its name is free in under a minute, otherwise set another RUNNER_NAME`
    : undefined
  const line = { ...about, code, hint, retry_in_ms: Math.round(pauseMs) }
  outage.failed(line, 'registration failed; trying again')
  return pauseMs
}

function storedCredential(
  { config, engineId, request }: RegistrationParts,
  token: string,
  runnerId: string,
  credential: string,
): StoredCredential {
  return {
    control_plane: config.CONTROL_PLANE_URL.href,
    pool_id: config.RUNNER_POOL_ID,
    runner_id: runnerId,
    name: request.name,
    engine_id: engineId,
    credential,
    token_hash: tokenHash(token),
    obtained_at_ms: Date.now(),
  }
}
