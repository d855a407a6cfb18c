import { expect, test } from 'vitest'
import type { SyncResponse } from '../../protocol/runner-api.ts'
import { Complaint, OUTAGE_REPEAT_MS } from '../../runner/complaint.ts'
import { ReplyLog } from '../../runner/daemon/reply-log.ts'
import { aJob, anOffer, sessionId } from './support/factories.ts'

/** Whatever repeats itself is said when it is news. */

function aLog() {
  const said: string[] = []
  const lines: object[] = []
  const note = (fields: object, message: string) => {
    said.push(message)
    lines.push(fields)
  }
  return { said, lines, log: { info: note, warn: note, debug: () => undefined } as never }
}

test('what replies repeat until it is done is said once, and again when it is wanted again', () => {
  const { said, log } = aLog()
  const replies = new ReplyLog(log)
  const session_id = sessionId('a')
  const nothing = { offers: [], commands: [], leases: [] }
  const all = {
    offers: [anOffer('a', { job: aJob() })],
    commands: [{ id: 'cmd_1', type: 'stop_session', session_id, reason: 'cancelled' }],
    leases: [{ session_id, verdict: 'stop' }],
  } as unknown as SyncResponse
  for (const reply of [all, all, all]) replies.note(reply)
  const once = ['offered a session', 'command: stop_session', expect.stringContaining('no longer knows')]
  expect(said).toEqual(once)
  replies.note(nothing)
  replies.note(all)
  expect(said).toEqual([...once, ...once])
})

test('what goes on failing is said at first, every five minutes, and at once when it had worked meanwhile', () => {
  const { said, log } = aLog()
  let now = 0
  const complaint = new Complaint({ now: () => now }, log)
  for (; now < 600_000; now += 5_000) complaint.failed({}, 'it fails')
  expect(said).toHaveLength(2)
  complaint.worked()
  complaint.failed({}, 'it fails')
  expect(said).toHaveLength(3)
})

test('an outage is said at first, once a minute with its count and beginning, and when it is over', () => {
  const { said, lines, log } = aLog()
  let now = 0
  const outage = new Complaint({ now: () => now }, log, OUTAGE_REPEAT_MS)
  for (; now < 125_000; now += 5_000) outage.failed({ error: 'e' }, 'it fails')
  outage.worked('it works')
  outage.worked('it works')
  expect(said).toEqual(['it fails', 'it fails', 'it fails', 'it works'])
  const since = expect.stringMatching(/^\d{4}-\d\d-\d\dT/)
  expect(lines).toEqual([
    { error: 'e', failures: 1, since },
    { error: 'e', failures: 13, since },
    { error: 'e', failures: 25, since },
    { failures: 25, since },
  ])
  outage.failed({}, 'it fails')
  outage.failed({}, 'it fails in another way')
  expect(said.slice(4)).toEqual(['it fails', 'it fails in another way'])
})
