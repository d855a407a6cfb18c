/** What is metered, and how much of it a step may take at most: tests hold the code to it, and docs/costs.md reckons with it. */

/**
 * Rows that a step of a pool's object reads and writes, and alarms it sets, which write a row each
 * (`test/workerd/growth.test.ts`).
 */
export const POOL_BOUNDS = {
  'a sync without leases, of a runner that no run fits': { read: 3, written: 0, alarms: 0 },
  'a sync without leases, of a draining runner': { read: 3, written: 0, alarms: 0 },
  'a lease given': { read: 10, written: 6, alarms: 1 },
  'the same offer again': { read: 6, written: 1, alarms: 0 },
  accepted: { read: 6, written: 4, alarms: 1 },
  running: { read: 6, written: 4, alarms: 1 },
  'a sync that only renews': { read: 4, written: 1, alarms: 0 },
  'waking up, and a sync that only renews': { read: 12, written: 1, alarms: 0 },
  'an exit, and the next lease': { read: 16, written: 14, alarms: 1 },
  'a stale sync': { read: 1, written: 0, alarms: 0 },
  'a cancel of what runs': { read: 7, written: 4, alarms: 1 },
  'a cancelled session that goes on': { read: 5, written: 1, alarms: 0 },
  'an exit, and nothing to come': { read: 10, written: 8, alarms: 1 },
  'a run enqueued': { read: 2, written: 6, alarms: 1 },
  'the last run of a lane given away': { read: 12, written: 6, alarms: 1 },
  'the alarm that projects it': { read: 20, written: 2, alarms: 1 },
  'an exit that is tried again': { read: 12, written: 11, alarms: 1 },
  'the next attempt given': { read: 14, written: 6, alarms: 1 },
} as const

/** Rows of D1 that a run takes (`test/workerd/history-cost.test.ts`). */
export const HISTORY_BOUNDS = {
  /** By its pool, when each of its states is written by itself. */
  'a run': { written: 47, read: 4 },
  /** By the Worker, before it answers who created the run. */
  'the early copy of a run': { written: 8, read: 0 },
} as const
