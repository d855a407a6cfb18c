import type { STREAM_STATES } from '../../../protocol/run.ts'
import { type BlankCause, RUNNER_AWAITED, type ToViewer } from '../../../protocol/stream.ts'

/** What follows from who is there: what viewers are told, what the pool is told, and since when the runner is waited for. */

export type StreamState = Exclude<(typeof STREAM_STATES)[number], 'ended'>

/** What the relay knows of its sockets. */
export interface Joint {
  readonly viewers: number
  readonly publisher: boolean
  /** Whether the publisher that is connected now has a picture. */
  readonly framed: boolean
  /** Why it has none, where it said so. */
  readonly blank: BlankCause | null
}

/** What has to outlive the memory of the object. */
export interface Course {
  /** Since when viewers wait for a publisher, in epoch milliseconds. */
  readonly waitingSince: number | null
  /** Whether there was a picture since somebody began to watch. */
  readonly wasLive: boolean
  /** The state as the viewers were last told it. */
  readonly said: string
}

export const OUTSET: Course = { waitingSince: null, wasLive: false, said: '' }

export function stateOf({ viewers, publisher, framed }: Joint): StreamState {
  if (viewers === 0) return 'off'
  return publisher && framed ? 'live' : 'connecting'
}

/** What the course is once this is the joint. Viewers are to be told whenever `said` is another than before. */
export function courseAfter(before: Course, joint: Joint, now: number): Course {
  const waits = joint.viewers > 0 && !joint.publisher
  const wasLive = joint.viewers > 0 && (before.wasLive || stateOf(joint) === 'live')
  return {
    waitingSince: waits ? (before.waitingSince ?? now) : null,
    wasLive,
    said: JSON.stringify(stateMessage(joint, wasLive)),
  }
}

export function isSameCourse(one: Course, other: Course): boolean {
  return one.waitingSince === other.waitingSince && one.wasLive === other.wasLive && one.said === other.said
}

/** When viewers have waited long enough; null while they do not wait. */
export function waitEndsAt({ waitingSince }: Course, timeoutMs: number): number | null {
  return waitingSince === null ? null : waitingSince + timeoutMs
}

function stateMessage(joint: Joint, wasLive: boolean): ToViewer {
  if (stateOf(joint) === 'live') return { type: 'state', stream: 'live' }
  return { type: 'state', stream: 'connecting', reason: whyConnecting(joint, wasLive) }
}

const BLANK_REASONS: Readonly<Record<BlankCause, string>> = {
  no_agent: 'nothing in the container of the run shows a picture; waiting for it',
  agent_broken:
    'what shows the picture in the container of the run does not keep to the stream protocol; the log of the runner says what is wrong',
  no_browser: 'the browser of the run has ended; waiting for it to be started again',
  no_page: 'the browser of the run has no page open; waiting for one',
  page_crashed: 'the page has crashed; waiting for it to be loaded again',
  other: 'the run has no picture to show just now; waiting for one',
}

function whyConnecting({ publisher, blank }: Joint, wasLive: boolean): string {
  if (publisher && blank !== null) return BLANK_REASONS[blank]
  if (publisher) return 'the runner is connected; waiting for the first picture'
  return wasLive ? RUNNER_AWAITED.again : RUNNER_AWAITED.first
}
