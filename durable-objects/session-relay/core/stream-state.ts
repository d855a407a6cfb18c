import type { STREAM_STATES } from '../../../protocol/run.ts'

export type StreamState = (typeof STREAM_STATES)[number]

/** What the relay knows of its sockets. */
export interface Joint {
  readonly viewers: number
  readonly publisher: boolean
  /** Whether the publisher that is connected now has sent a frame. */
  readonly framed: boolean
  readonly ended: boolean
}

export function stateOf({ viewers, publisher, framed, ended }: Joint): StreamState {
  if (ended) return 'ended'
  if (viewers === 0) return 'off'
  return publisher && framed ? 'live' : 'connecting'
}

/** What a viewer is told beside the state. */
export function reasonOf(joint: Joint, wasLive: boolean): string | undefined {
  if (stateOf(joint) !== 'connecting') return undefined
  if (joint.publisher) return 'the runner is connected; waiting for the first picture'
  return wasLive
    ? 'the connection to the runner was lost; waiting for it to come back'
    : 'waiting for the runner to connect'
}
