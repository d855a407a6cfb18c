import { z } from 'zod'
import { accepted, type Result, refused } from '../../protocol/errors.ts'
import { RunId, SessionId } from '../../protocol/ids.ts'
import { isTerminal, type Run } from '../../protocol/run.ts'
import { Artifacts } from '../../protocol/session-files.ts'
import type { KeyHolder } from '../auth/callers.ts'
import { atLeast } from '../auth/guards.ts'
import { findStartedSession } from '../directory/run-history.ts'
import { downloadResponse } from '../files/download.ts'
import { type FollowedRun, followLog, type Look } from '../files/follow-log.ts'
import { readLog, streamOf } from '../files/read-log.ts'
import { done, type Reply } from '../http/reply.ts'
import { type Call, defineRoute } from '../http/route.ts'
import { type LocatedRun, locateRun } from '../runs/locate-run.ts'

const RunPath = z.object({ run_id: RunId })
const SessionQuery = z.strictObject({
  session_id: SessionId.optional().describe(
    'One attempt of the run, as its events name it; without it the last attempt that was started',
  ),
})

const FOLLOW =
  '1 gives server-sent events until the run has ended and its log is complete: `session` {session_id, attempt} before ' +
  'the first line of an attempt, `log` {offset, text} with whole lines and an id, and `end` {status}. An answer that ends ' +
  'without `end` is to be asked for again, with the last id as Last-Event-ID.'
const LAST_EVENT_ID = 'Of follow=1: the id of the last event that was read; the stream goes on behind it'

/** What a run's session has left: its log, while it grows and after, and its artifacts. */
export const sessionFileRoutes = [
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/logs',
    tag: 'Runs',
    summary: 'The log as text, or with follow=1 as server-sent events while it grows',
    guard: atLeast('viewer'),
    params: RunPath,
    query: SessionQuery.extend({ follow: z.enum(['0', '1']).optional().describe(FOLLOW) }),
    headers: z.object({ 'Last-Event-ID': z.string().optional().describe(LAST_EVENT_ID) }),
    statuses: [200],
    answer: z.string(),
    refusals: ['not_found'],
    async handle(call, { params: { run_id }, query }): Promise<Result<Reply<string>>> {
      const located = await locateRun(call, run_id)
      if (!located.ok) return located
      const look = await lookAt(call, located.value.run, query.session_id)
      if (query.follow === '1') {
        const lastEventId = call.request.headers.get('last-event-id')
        const body = streamOf(
          followLog(followed(call, located.value, query.session_id, look), look, lastEventId),
        )
        const headers = {
          'content-type': 'text/event-stream; charset=utf-8',
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
        }
        return accepted({ status: 'raw', response: new Response(body, { headers }) })
      }
      return accepted(await logReply(call, run_id, look.sessionId))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/artifacts',
    tag: 'Runs',
    summary: 'What the run left behind',
    guard: atLeast('viewer'),
    params: RunPath,
    query: SessionQuery,
    statuses: [200],
    answer: Artifacts,
    refusals: ['not_found'],
    async handle(call, { params: { run_id }, query }) {
      const located = await locateRun(call, run_id)
      if (!located.ok) return located
      const { sessionId } = await lookAt(call, located.value.run, query.session_id)
      const items = sessionId === null ? [] : await call.files(sessionId).artifacts(run_id)
      return accepted(done({ items, next_cursor: null }))
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/v1/runs/{run_id}/artifacts/{name}',
    tag: 'Runs',
    summary: 'The bytes of an artifact',
    guard: atLeast('viewer'),
    params: RunPath.extend({ name: z.string() }),
    query: SessionQuery,
    statuses: [200],
    answer: z.string(),
    refusals: ['not_found'],
    async handle(call, { params: { run_id, name }, query }): Promise<Result<Reply<string>>> {
      const located = await locateRun(call, run_id)
      if (!located.ok) return located
      const { sessionId } = await lookAt(call, located.value.run, query.session_id)
      const found = sessionId === null ? null : await call.files(sessionId).artifact(run_id, name)
      if (found === null) return refused('not_found', 'no such artifact')
      const { artifact, key } = found
      const response = await downloadResponse(call.request, {
        length: artifact.size,
        contentType: artifact.content_type,
        name,
        etag: artifact.sha256,
        read: async (start, end) => {
          const object = await call.env.BLOBS.get(key, { range: { offset: start, length: end - start } })
          return object?.body ?? null
        },
      })
      return response === null ? refused('not_found', 'gone') : accepted({ status: 'raw', response })
    },
  }),
]

async function logReply(
  call: Call<KeyHolder>,
  runId: string,
  sessionId: string | null,
): Promise<Reply<string>> {
  const files = sessionId === null ? null : call.files(sessionId)
  const shape = files === null ? null : await files.logShape(runId)
  const response = await downloadResponse(call.request, {
    length: shape?.length ?? 0,
    contentType: 'text/plain',
    name: `${runId}.log`,
    read: async (start, end) => {
      if (files === null || shape === null) return null
      return streamOf(readLog({ files, blobs: call.env.BLOBS, runId }, shape, start, end))
    },
  })
  return { status: 'raw', response: response ?? new Response(null) }
}

/** Who may read, and where a run is, changes seldom: a follower has the directory asked no more often than this. */
const DIRECTORY_MS = 10_000

function followed(
  call: Call<KeyHolder>,
  first: LocatedRun,
  wanted: string | undefined,
  look: Look,
): FollowedRun {
  const runId = first.run.id
  let [located, known, askedAt] = [first, look, Date.now()]
  return {
    runId,
    blobs: call.env.BLOBS,
    files: sessionId => call.files(sessionId),
    uploadWindowMs: call.settings.SelfHosted__UploadWindowSeconds * 1000,
    async look() {
      if (Date.now() < askedAt + DIRECTORY_MS && (await isStill(located, known.run))) return known
      askedAt = Date.now()
      // Whoever may not read any more reads no further.
      const admitted = await atLeast('viewer').admit({ ...call, now: askedAt })
      const found = admitted.ok ? await locateRun(call, runId) : admitted
      if (!found.ok) return null
      located = found.value
      known = await lookAt(call, located.run, wanted)
      return known
    },
  }
}

/** Whether everything that a look rests on is as it was. */
async function isStill(located: LocatedRun, known: Run): Promise<boolean> {
  if (located.state === 'ended') return true
  const now = await located.pool.getRun(known.id)
  const aspects = ['status', 'attempt', 'session_id', 'started_at'] as const
  return now.ok && aspects.every(aspect => now.value[aspect] === known[aspect])
}

/** Between two attempts, and while the next is not started, it is the earlier one that has something to show. */
async function lookAt(call: Call<KeyHolder>, run: Run, wanted: string | undefined): Promise<Look> {
  const isOver = isTerminal(run.status)
  if (wanted !== undefined) return { run, sessionId: wanted, isOver: isOver || wanted !== run.session_id }
  if (run.session_id !== null && run.started_at !== null) return { run, sessionId: run.session_id, isOver }
  const started =
    run.attempt > 0 ? await findStartedSession(call.directory, call.caller.tenant.id, run.id) : null
  return { run, sessionId: started ?? run.session_id, isOver }
}
