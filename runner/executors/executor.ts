import type { Exit, Job } from '../../protocol/runner-api.ts'
import type { ExitFacts, Found, RunningFacts } from '../session-types.ts'

/**
 * How sessions are made to run. Failures that belong to the session are values; a thrown error means that the Engine
 * could not be asked, that nothing is known, and that the call is to be repeated. A call that was aborted is such a
 * one too: the Engine may carry it out at any later time.
 */
export interface Executor {
  readonly name: 'docker' | 'host'
  /** Sets up what sessions need on this host. */
  ready(signal?: AbortSignal): Promise<void>
  list(signal?: AbortSignal): Promise<Found[]>
  prepare(sessionId: string, job: Job, hooks: PrepareHooks): Promise<Prepared | Failed>
  /** Repeating it for a session whose container exists changes nothing. */
  create(sessionId: string, job: Job, abort: AbortSignal): Promise<Created | Failed>
  /** Starts only what was never started; otherwise says what it finds. */
  start(sessionId: string, job: Job, abort: AbortSignal): Promise<Running | Ended | Failed>
  /** What was never started is made unable to start, also by a `start` that the Engine has yet to carry out. */
  signal(
    sessionId: string,
    signal: 'SIGTERM' | 'SIGKILL',
    abort: AbortSignal,
  ): Promise<Signalled | NotRunning>
  /**
   * What the session wrote, as lines of the log, from its beginning, or the oldest there still is, until it ends; what
   * is read again is the same again. It may end early: only what is read after the session's end is all of it. Throws
   * when it cannot be read now, and on abort; gives nothing where nothing ever ran. A piece is good until the next.
   */
  output(sessionId: string, signal: AbortSignal): AsyncIterable<Uint8Array>
  /** Resolves when the session has ended. Rejects when the connection is lost, and on abort. */
  wait(sessionId: string, signal: AbortSignal): Promise<Ended>
  /** Removes the session's container, if it is there and ours. */
  remove(sessionId: string, abort: AbortSignal): Promise<void>
}

export interface PrepareHooks {
  readonly signal: AbortSignal
  readonly onPulling: () => void
}

export interface Prepared {
  readonly type: 'prepared'
  readonly image_digest: string | null
  /** Release of an agent image; null for every other image. */
  readonly agent_version: string | null
}
/** `image_gone`: nothing was made, because the image is not here any more. */
export interface Created {
  readonly type: 'created' | 'image_gone'
}
export interface Failed {
  readonly type: 'failed'
  readonly exit: Exit
  readonly container: boolean
}
export type Running = { readonly type: 'running' } & RunningFacts
export type Ended = { readonly type: 'exited' } & ExitFacts
export interface Signalled {
  readonly type: 'signalled'
}
export interface NotRunning {
  readonly type: 'not_running'
  readonly container: boolean
}
