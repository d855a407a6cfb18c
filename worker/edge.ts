import type { SessionFilesRpc } from '../durable-objects/session-files/rpc.ts'
import type { Settings } from '../durable-objects/settings.ts'
import type { KeyHolder } from './auth/callers.ts'
import type { AuditEntry } from './directory/audit-events.ts'
import { type Directory, openDirectory } from './directory/database.ts'
import type { Env, PoolStub, RelayStub } from './env.ts'
import { mintId } from './ids.ts'
import { activeTraceparent } from './telemetry/active-span.ts'
import type { WorkerMetrics } from './telemetry/worker-metrics.ts'

/** One request and everything its handling may touch. */
export interface Edge {
  readonly request: Request
  readonly url: URL
  readonly requestId: string
  /** Epoch milliseconds; one instant for the whole request. */
  readonly now: number
  /** Where the request came from, as Cloudflare saw it. */
  readonly address: string
  readonly settings: Settings
  readonly env: Env
  readonly directory: Directory
  pool(poolId: string): PoolStub
  relay(sessionId: string): RelayStub
  files(sessionId: string): SessionFilesRpc
  /** Work the answer does not wait for. Its failure is logged by whoever started it. */
  background(work: Promise<unknown>): void
  /** Of this request, as others are to know it; undefined where it is not traced. */
  readonly traceparent: string | undefined
  /** Null where nobody asked for metrics. */
  readonly metrics: WorkerMetrics | null
  /** Collected while the request is handled, written once after it. */
  readonly audit: AuditEntry[]
}

export function openEdge(
  request: Request,
  env: Env,
  settings: Settings,
  metrics: WorkerMetrics | null,
  context: Pick<ExecutionContext, 'waitUntil'>,
): Edge {
  return {
    request,
    url: new URL(request.url),
    requestId: newRequestId(),
    now: Date.now(),
    address: request.headers.get('cf-connecting-ip') ?? 'unknown',
    settings,
    env,
    directory: openDirectory(env.DB),
    pool: poolId => env.RUNNER_POOL.getByName(poolId),
    relay: sessionId => env.SESSION_RELAY.getByName(sessionId),
    files: sessionId => env.SESSION_FILES.getByName(sessionId),
    background: work => context.waitUntil(work),
    traceparent: activeTraceparent(),
    metrics,
    audit: [],
  }
}

export function newRequestId(): string {
  return `req_${crypto.randomUUID().replaceAll('-', '')}`
}

/** Notes what a tenant's key has changed. */
export function noteChange(
  call: Edge & { readonly caller: KeyHolder },
  action: string,
  target: string,
): void {
  noteAudit(call, {
    tenant: { id: call.caller.tenant.id },
    actor: call.caller.key.id,
    action,
    target,
  })
}

/** Notes a change or a refused credential; see `directory/audit-events.ts` for what may be in it. */
export function noteAudit(
  edge: Edge,
  entry: Pick<AuditEntry, 'tenant' | 'actor' | 'action' | 'target'> & { detail?: string },
): void {
  edge.audit.push({
    id: mintId('auditEvent'),
    at: edge.now,
    address: edge.address,
    detail: '',
    ...entry,
  })
}
