import { describe, expect, test } from 'vitest'
import { LeaseReport, SyncRequest } from '../../protocol/runner-api.ts'

const report = { session_id: 'ses_01m858wk6vfvkt9rqhbgxvxwcy', state: 'running' }

test('a notice nobody here knows is dropped, and the known ones stay', () => {
  const notices = [...Array(20).fill('warped'), 'memory_pressure', 'adopted']
  expect(LeaseReport.parse({ ...report, notices }).notices?.toSorted()).toEqual([
    'adopted',
    'memory_pressure',
  ])
})

test('a report cut in the middle of a surrogate pair is still well-formed', () => {
  const message = `${'x'.repeat(999)}😀`
  const { exit } = LeaseReport.parse({
    ...report,
    state: 'exited',
    exit: { code: 1, reason: 'exited', message },
  })
  expect(exit?.message?.isWellFormed()).toBe(true)
  expect(exit?.message).toHaveLength(1000)
})

describe('what only a newer runner knows does not cost it its leases', () => {
  const sync = {
    protocol: 1,
    boot: 1,
    boot_id: 'boot-of-the-test',
    seq: 1,
    draining: false,
    inventory: 'complete',
    slots: { max: 2 },
    leases: [report],
    acks: [],
  }

  test('an unknown reason is an engine error that keeps the word', () => {
    const exitOf = (exit: object) => LeaseReport.parse({ ...report, state: 'exited', exit }).exit
    const code = 137
    expect(exitOf({ code, reason: 'evicted' })).toEqual({ code, reason: 'engine_error', message: 'evicted' })
    expect(exitOf({ code, reason: 'evicted', message: 'low on disk' })).toEqual({
      code,
      reason: 'engine_error',
      message: 'evicted: low on disk',
    })
    expect(exitOf({ code, reason: '\ud800'.repeat(2_000) })?.message).toBe('\ufffd'.repeat(1_000))
  })

  test('an unknown state is that of a session which is held', () => {
    expect(LeaseReport.parse({ ...report, state: 'paused' }).state).toBe('accepted')
  })

  test('an unknown kind of inventory proves nothing', () => {
    expect(SyncRequest.parse({ ...sync, inventory: 'partial' }).inventory).toBe('unknown')
  })

  test.each([
    ['started_at', '2026-01-01T00:00Z'],
    ['finished_at', '2026-02-30T00:00:00Z'],
    ['image_digest', 'x'.repeat(257)],
    ['image_digest', '\ud800'],
    ['notices', 'adopted'],
  ])('the report goes without a %s of %j', (field, value) => {
    expect(LeaseReport.parse({ ...report, [field]: value })).toEqual(report)
  })

  test.each([
    ['health', { memory_free_mb: -1, disk_free_mb: 1, load1: null }],
    ['version', ''],
    ['platform', { os: 'plan9' }],
    ['engine', 'docker'],
    ['labels', { 'zone=east': 'x' }],
  ])('the sync goes without a %s of %j', (field, value) => {
    expect(SyncRequest.parse({ ...sync, [field]: value })).toEqual(sync)
  })

  test('what a lease does rest on is refused', () => {
    const isTaken = (more: object) => SyncRequest.safeParse({ ...sync, ...more }).success
    expect(isTaken({ leases: [{ ...report, state: 1 }] })).toBe(false)
    expect(isTaken({ leases: [{ ...report, state: 'exited' }] })).toBe(false)
    expect(isTaken({ leases: [{ ...report, session_id: 'x' }] })).toBe(false)
    expect(isTaken({ leases: [report, report] })).toBe(false)
    expect(isTaken({ slots: { max: -1 } })).toBe(false)
  })
})
