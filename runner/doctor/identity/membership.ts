import { z } from 'zod'
import { explain } from '../../api/classify.ts'
import { interpret, runnerPath } from '../../api/client.ts'
import { reasonOf } from '../../log.ts'
import { type Check, fail, ok, skipped, warn } from '../examination.ts'
import type { Settings } from '../host/settings.ts'
import { ask, type Reply } from '../network/way.ts'
import type { Credential } from './credential.ts'

/**
 * Whether the control plane still takes the credential. The doorbell, asked for without an upgrade, answers 400 to
 * the runner itself and 401 to anybody else, and changes nothing: no doorbell is opened, no sync is applied.
 */
export const membership: Check<{ settings: Settings; reply: Reply; credential: Credential }, null> = {
  name: 'membership',
  async look({ settings: { config }, credential: { stored, isUsed } }, signal) {
    if (stored === null || !isUsed) return skipped('a credential for these settings')
    const who = { poolId: stored.pool_id, runnerId: stored.runner_id, credential: stored.credential }
    let reply: Reply
    try {
      const headers = { authorization: `Bearer ${who.credential}` }
      reply = await ask(config, runnerPath(who, 'doorbell'), signal, headers)
    } catch (error) {
      return fail(
        `gives no answer: ${reasonOf(error)}`,
        'run the doctor again: the control plane answered just before',
      )
    }
    const said = interpret(reply.status, reply.headers, reply.text, z.never())
    if (said.ok || said.failure.kind !== 'refused') {
      const seen = said.ok ? `answered ${reply.status}` : explain(said.failure)
      return fail(seen, 'have whatever answers in its place pass /runner/ on')
    }
    const { code } = said.failure.problem
    switch (code) {
      case 'invalid_request':
        return ok(`${stored.runner_id} is known, and its credential is good`)
      case 'unauthenticated':
        return fail(
          `the control plane does not take the credential of ${stored.runner_id}`,
          'the runner was removed there, or registered again elsewhere: create a new registration token (the one of this credential is not used again), set REGISTRATION_TOKEN and start the runner',
        )
      case 'not_found':
        return fail(`there is no pool ${stored.pool_id}`, 'check RUNNER_POOL_ID and CONTROL_PLANE_URL')
      default:
        return warn(`cannot be told now: ${explain(said.failure)}`, 'run the doctor again in a minute')
    }
  },
}
