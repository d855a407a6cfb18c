import { beforeEach, describe, expect, test } from 'vitest'
import { streamChanged } from '../../durable-objects/runner-pool/core/streams.ts'
import type { StreamReport } from '../../durable-objects/session-relay/rpc.ts'
import { exited, running, TestPool, TestRunner } from './pool-fixture.ts'

/** Events are read by people who look for a cause, so each has to be true. */

const LIVE: StreamReport = { viewers: 1, publisher: true, state: 'live' }
const OFF: StreamReport = { viewers: 0, publisher: false, state: 'off' }

let pool: TestPool
let runner: TestRunner
let session: string

beforeEach(() => {
  pool = new TestPool()
  runner = new TestRunner(pool, 'one')
  pool.enqueue('run_1', { max_attempts: 1 })
  session = runner.take()
  runner.sync([running(session)])
})

function report(change: StreamReport): void {
  pool.decide(ctx => streamChanged(ctx, 'run_1', session, change))
}

/** Since the picture was there. */
function saidAfterOpening(): string[] {
  const events = pool.store.outbox.batch(10_000).filter(({ runId }) => runId === 'run_1')
  const opened = events.findIndex(({ type }) => type === 'stream_opened')
  return events.slice(opened + 1).map(({ type, detail }) => `${type}: ${detail}`)
}

describe('the end of a live view is explained by', () => {
  test('the last viewer’s leaving', () => {
    report(LIVE)
    report(OFF)
    runner.sync([exited(session, 0)])
    expect(saidAfterOpening()).toEqual([
      'stream_closed: nobody watches any more',
      expect.stringMatching(/^succeeded/),
    ])
  })

  test('the session’s end, when that comes first', () => {
    report(LIVE)
    runner.sync([exited(session, 0)])
    report(OFF)
    expect(saidAfterOpening()).toEqual([
      'stream_closed: the session has ended',
      expect.stringMatching(/^succeeded/),
    ])
  })

  test('its being ended, when viewers are gone before it is', () => {
    report(LIVE)
    pool.cancel('run_1')
    report(OFF)
    runner.sync([exited(session, 143, 'stopped')])
    expect(saidAfterOpening().filter(line => line.startsWith('stream_'))).toEqual([
      'stream_closed: the session is being ended',
    ])
  })

  test('the runner that did not come, when viewers were sent away for that', () => {
    report(LIVE)
    report({ viewers: 1, publisher: false, state: 'connecting' })
    report({ ...OFF, gave_up: true })
    expect(saidAfterOpening()).toEqual([
      'stream_closed: the runner did not connect in time to those who waited',
    ])
  })
})

test('a session that a restarted runner found and was told to end is not called kept', () => {
  pool.cancel('run_1')
  runner.restart()
  runner.sync([{ ...running(session), notices: ['adopted', 'memory_pressure'] }])
  expect(pool.events('run_1')).toContain('memory_pressure')
  expect(pool.events('run_1')).not.toContain('adopted')
})
