import { expect, test, vi } from 'vitest'
import { RunnerPool } from '../../durable-objects/runner-pool/object.ts'
import type { Run } from '../../protocol/run.ts'
import { type FollowedRun, followLog } from '../../worker/files/follow-log.ts'
import { mintId } from '../../worker/ids.ts'
import { BINDINGS, fetchRaw } from './client.ts'
import { makeEnvironment, makePool, makeRun, makeTenant } from './world.ts'

/** What following a log asks of others. */

const SUBREQUEST_LIMIT = 1_000
const encoder = new TextEncoder()

test('ends itself before the platform ends it, at a place from where a reader goes on', async () => {
  const [runId, sessionId] = [mintId('run'), mintId('session')]
  const lines = 1_500
  const whole = encoder.encode(Array.from({ length: lines }, (_, at) => `line ${at}\n`).join(''))
  let calls = 0
  const counted = async <T>(value: T): Promise<T> => {
    calls += 1
    return value
  }
  const shape = (length: number) => ({ length, stored: 0, complete: length === whole.length, prefix: 'p/' })
  const run = { id: runId, status: 'succeeded', session_id: sessionId, finished_at: null } as Run
  const now = { run, sessionId, isOver: true }
  const followed: FollowedRun = {
    runId,
    blobs: { get: () => counted(null) },
    files: () => ({
      logShape: () => counted(shape(whole.length)),
      readTail: (_run, from, to) => counted(whole.slice(from, to).buffer),
      waitForLog: (_run, after) => counted(shape(whole.indexOf(0x0a, after) + 1 || whole.length)),
    }),
    look: () => counted(now),
    uploadWindowMs: 0,
  }
  const growing = { ...now, isOver: false }
  let said = ''
  let lastEventId: string | null = null
  for (let visits = 1; ; visits++) {
    calls = 0
    let end = ''
    for await (const piece of followLog(followed, growing, lastEventId)) {
      const text = new TextDecoder().decode(piece)
      lastEventId = /^id: (.*)$/m.exec(text)?.[1] ?? lastEventId
      if (text.startsWith('event: log')) said += JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? '').text
      end = text
    }
    expect(calls).toBeLessThan(SUBREQUEST_LIMIT)
    if (end.startsWith('event: end')) {
      expect(visits).toBeGreaterThan(1)
      break
    }
    expect(end).toMatch(/^retry: \d+\n\n$/)
  }
  expect(said).toBe(new TextDecoder().decode(whole))
})

test('of a queued run asks the run’s pool for what is new, and the directory only now and then', async () => {
  const tenant = await makeTenant()
  const runId = await makeRun(tenant, await makeEnvironment(tenant, await makePool(tenant)))
  let statements = 0
  const DB = new Proxy(BINDINGS.DB, {
    get(target, name) {
      if (name === 'prepare') statements += 1
      const member = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  const key = tenant.keys.viewer
  const response = await fetchRaw('GET', `/api/v1/runs/${runId}/logs?follow=1`, { key, env: { DB } })
  const asked = vi.spyOn(RunnerPool.prototype, 'getRun')
  const [begun, before] = [Date.now(), statements]
  void response.body?.getReader().read()
  await vi.waitUntil(() => asked.mock.calls.length >= 4, 60_000)
  const windows = Math.ceil((Date.now() - begun) / 10_000)
  expect(statements - before).toBeLessThanOrEqual(2 * windows)
})
