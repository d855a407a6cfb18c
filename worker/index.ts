import { logLine, reasonOf } from '../durable-objects/log.ts'
import { parseSettings } from '../durable-objects/settings.ts'
import { buildApp } from './app.ts'
import { openDirectory } from './directory/database.ts'
import { newRequestId, openEdge } from './edge.ts'
import type { Env } from './env.ts'
import { problemResponse } from './http/respond.ts'
import { sweepHistory } from './retention.ts'

export { RunnerPool } from '../durable-objects/runner-pool/object.ts'
export { SessionFiles } from '../durable-objects/session-files/object.ts'
export { SessionRelay } from '../durable-objects/session-relay/object.ts'

type ParsedSettings = ReturnType<typeof parseSettings>

/** The bindings object lives as long as the isolate, so its settings are parsed once. */
const settingsOf = new WeakMap<Env, ParsedSettings>()

function settings(env: Env): ParsedSettings {
  const known = settingsOf.get(env)
  if (known !== undefined) return known
  const parsed = parseSettings({ ...env })
  if (!parsed.ok) logLine('error', 'bad_settings', { problems: parsed.problems })
  settingsOf.set(env, parsed)
  return parsed
}

const app = buildApp()

export default {
  async fetch(request, env, context) {
    const parsed = settings(env)
    if (!parsed.ok) {
      const detail = `The control plane is set up wrongly: ${parsed.problems.join('; ')}`
      return problemResponse({ code: 'overloaded', detail }, newRequestId())
    }
    return await app.fetch(request, openEdge(request, env, parsed.settings, context), context)
  },
  /** Daily; what fails or is left over is done by the next. */
  async scheduled({ scheduledTime }, env) {
    const parsed = settings(env)
    if (!parsed.ok) return
    try {
      await sweepHistory(openDirectory(env.DB), parsed.settings, scheduledTime)
    } catch (error) {
      logLine('error', 'history_sweep_failed', { reason: reasonOf(error) })
    }
  },
} satisfies ExportedHandler<Env>
