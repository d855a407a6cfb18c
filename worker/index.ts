import { logLine, reasonOf } from '../durable-objects/log.ts'
import { otlpTarget, parseSettings, type Settings } from '../durable-objects/settings.ts'
import { buildApp } from './app.ts'
import { openDirectory } from './directory/database.ts'
import { newRequestId, openEdge } from './edge.ts'
import type { Env } from './env.ts'
import { problemResponse } from './http/respond.ts'
import { sweepHistory } from './retention.ts'
import { BEFORE_THE_END } from './telemetry/before-the-end.ts'
import { isTraced, Traces } from './telemetry/traces.ts'
import { WorkerMetrics } from './telemetry/worker-metrics.ts'

export { RunnerPool } from '../durable-objects/runner-pool/object.ts'
export { SessionFiles } from '../durable-objects/session-files/object.ts'
export { SessionRelay } from '../durable-objects/session-relay/object.ts'

type SetUp =
  | {
      readonly ok: true
      readonly settings: Settings
      readonly metrics: WorkerMetrics | null
      readonly traces: Traces | null
    }
  | { readonly ok: false; readonly problems: readonly string[] }

/** The bindings object lives as long as the isolate, so its settings are parsed once, and counts are kept with it. */
const setUps = new WeakMap<Env, SetUp>()

function setUp(env: Env): SetUp {
  const known = setUps.get(env)
  if (known !== undefined) return known
  const made = makeSetUp(env)
  setUps.set(env, made)
  return made
}

function makeSetUp(env: Env): SetUp {
  const parsed = parseSettings({ ...env })
  if (!parsed.ok) {
    logLine('error', 'bad_settings', { problems: parsed.problems })
    return parsed
  }
  const target = otlpTarget(parsed.settings)
  if (target === null) return { ...parsed, metrics: null, traces: null }
  const ratio = parsed.settings.OTEL_TRACES_SAMPLER_ARG
  return { ...parsed, metrics: new WorkerMetrics(target), traces: new Traces(target, ratio) }
}

const app = buildApp()

export default {
  async fetch(request, env, context) {
    const parsed = setUp(env)
    if (!parsed.ok) {
      const detail = `The control plane is set up wrongly: ${parsed.problems.join('; ')}`
      return problemResponse({ code: 'overloaded', detail }, newRequestId())
    }
    const handle = async () => {
      const edge = openEdge(request, env, parsed.settings, parsed.metrics, context)
      return await app.fetch(request, edge, context)
    }
    const response =
      isTraced(request) && parsed.traces
        ? await parsed.traces.trace(request, context, handle)
        : await handle()
    parsed.metrics?.flush(work => context.waitUntil(work))
    return response
  },
  /** Daily; what fails or is left over is done by the next. The embedded control plane also calls it before it ends. */
  async scheduled({ cron, scheduledTime }, env) {
    const parsed = setUp(env)
    if (!parsed.ok) return
    if (cron === BEFORE_THE_END) return await parsed.metrics?.settle()
    try {
      await sweepHistory(openDirectory(env.DB), parsed.settings, scheduledTime)
    } catch (error) {
      logLine('error', 'history_sweep_failed', { reason: reasonOf(error) })
    }
  },
} satisfies ExportedHandler<Env>
