import { parseSettings } from '../../../durable-objects/settings.ts'
import { DOORBELL } from '../../../protocol/runner-api.ts'
import { HISTORY_BOUNDS, POOL_BOUNDS } from './counts.ts'
import { METERED, type Usage } from './prices.ts'

/** How much of what is billed each thing takes: bounds that tests hold, and a few figures that are assumed. */

const MONTH_S = 30 * 24 * 3600
const HOUR_S = 3600
/** An object is billed as if it had all of this. */
const OBJECT_GB = 0.128
/** Cloudflare counts so many messages that come in over a websocket as one request. */
const MESSAGES_PER_REQUEST = 20
/** A doorbell makes the pause between syncs of an idle runner so many times as long. */
const DOORBELL_FACTOR = 60

/** Taken for granted, and generously: a call that does next to nothing takes less than a millisecond. */
export const ASSUMED = {
  callMs: 5,
  logChunks: 2,
  artifacts: 3,
  /** Announced, sent in one part, completed. */
  callsPerArtifact: 3,
  rowsPerUpload: 3,
  framesPerSecond: 15,
} as const

const NOTHING: Usage = Object.fromEntries(METERED.map(name => [name, 0])) as Usage

export function plus(...parts: readonly Usage[]): Usage {
  const sum = (name: keyof Usage) => parts.reduce((total, part) => total + part[name], 0)
  return Object.fromEntries(METERED.map(name => [name, sum(name)])) as Usage
}

export function times(count: number, usage: Usage): Usage {
  return Object.fromEntries(METERED.map(name => [name, count * usage[name]])) as Usage
}

/** One call through the Worker to an object. */
function call({ read, written, alarms }: { read: number; written: number; alarms: number }): Usage {
  return {
    ...NOTHING,
    workerRequests: 1,
    workerCpuMs: ASSUMED.callMs,
    ...inObject({ read, written: written + alarms }),
  }
}

function inObject({ read, written }: { read: number; written: number }) {
  return {
    objectRequests: 1,
    objectGbSeconds: (ASSUMED.callMs / 1000) * OBJECT_GB,
    objectRowsRead: read,
    objectRowsWritten: written,
  }
}

function alarm({ read, written, alarms }: { read: number; written: number; alarms: number }): Usage {
  return { ...NOTHING, ...inObject({ read, written: written + alarms }) }
}

function defaults() {
  const parsed = parseSettings({})
  if (!parsed.ok) throw new Error('the defaults are no settings')
  return parsed.settings
}

const SETTINGS = defaults()

/** With its doorbell, for a month. What it writes is that it was seen, once an hour. */
export function idleRunner(): Usage {
  const syncs = MONTH_S / (SETTINGS.SelfHosted__SyncIdleSeconds * DOORBELL_FACTOR)
  const pings = MONTH_S / (DOORBELL.pingIntervalMs / 1000)
  return plus(times(syncs, call(POOL_BOUNDS['a sync without leases, of a runner that no run fits'])), {
    ...NOTHING,
    objectRequests: pings / MESSAGES_PER_REQUEST,
    objectRowsWritten: MONTH_S / HOUR_S,
  })
}

/** One hour in which it has sessions, however many: they share a sync. */
export function busyHour(): Usage {
  const syncs = HOUR_S / (SETTINGS.SelfHosted__LeaseTtlSeconds / 4)
  return times(syncs, call(POOL_BOUNDS['a sync that only renews']))
}

/** From its creation to its end, at the first attempt, with a short log and a few artifacts. */
export function oneRun(): Usage {
  const { logChunks, artifacts, callsPerArtifact, rowsPerUpload } = ASSUMED
  const steps = [
    'a run enqueued',
    'a lease given',
    'accepted',
    'running',
    'an exit, and nothing to come',
  ] as const
  const uploads = logChunks + artifacts * callsPerArtifact
  return plus(
    ...steps.map(step => call(POOL_BOUNDS[step])),
    times(steps.length, alarm(POOL_BOUNDS['the alarm that projects it'])),
    times(uploads, call({ read: rowsPerUpload, written: rowsPerUpload, alarms: 0 })),
    {
      ...NOTHING,
      d1RowsWritten: HISTORY_BOUNDS['a run'].written + HISTORY_BOUNDS['the early copy of a run'].written,
      // One for the log; an artifact is begun, sent and completed.
      r2ClassA: 1 + artifacts * callsPerArtifact,
    },
  )
}

/** One hour of a job that writes without a pause: what it wrote is brought twice a second. */
export function chattyHour(): Usage {
  const { rowsPerUpload } = ASSUMED
  return times(2 * HOUR_S, call({ read: rowsPerUpload, written: rowsPerUpload, alarms: 0 }))
}

/** One hour of a live view with one viewer: a frame and a ping come in from the runner, an ack from the viewer. */
export function watchedHour(): Usage {
  const messages = 3 * ASSUMED.framesPerSecond * HOUR_S
  return {
    ...NOTHING,
    objectRequests: messages / MESSAGES_PER_REQUEST,
    objectGbSeconds: HOUR_S * OBJECT_GB,
  }
}
