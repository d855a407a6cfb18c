import { expect, test } from 'vitest'
import type { SyncResponse } from '../../protocol/runner-api.ts'
import { Complaint } from '../../runner/daemon/complaint.ts'
import { ReplyLog } from '../../runner/daemon/reply-log.ts'
import { aJob, anOffer, sessionId } from './support/factories.ts'

/** Whatever repeats itself is said when it is news. */

function aLog() {
  const said: string[] = []
  const note = (_fields: object, message: string) => said.push(message)
  return { said, log: { info: note, warn: note } as never }
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
