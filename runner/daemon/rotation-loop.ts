import { explain } from '../api/classify.ts'
import type { ApiClient } from '../api/client.ts'
import { jittered, sleep } from '../clock.ts'
import { type Log, reasonOf } from '../log.ts'
import type { Membership } from './runner-identity.ts'

const CREDENTIAL_AGE_MS = 7 * 24 * 3_600_000
/** Also the pause after a failure: there are days to spare. */
const LOOK_MS = 3_600_000

/** Replaces the credential every seven days. A reply that is lost is no harm: the old one lives until the new is used. */
export async function rotationLoop(
  api: Pick<ApiClient, 'rotate'>,
  membership: Membership,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const ageMs = Date.now() - membership.obtainedAtMs
    if (ageMs >= CREDENTIAL_AGE_MS) await rotate(api, membership, log, signal)
    await sleep(jittered(LOOK_MS), signal)
  }
}

async function rotate(
  api: Pick<ApiClient, 'rotate'>,
  membership: Membership,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const result = await api.rotate(membership.identity, signal)
  if (!result.ok) {
    log.warn({ error: explain(result.failure) }, 'the credential could not be rotated; trying again later')
    return
  }
  try {
    await membership.renew(result.value.credential, Date.now())
    log.info('the credential was rotated')
  } catch (error) {
    log.warn({ error: reasonOf(error) }, 'the new credential cannot be stored, so the old one stays in use')
  }
}
