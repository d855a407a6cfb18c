import type { Run } from '../protocol/run.ts'
import type { Failure } from './failure.ts'

/** What a script can tell by. Numbers are never given another meaning; docs/cli.md has the table. */
export const EXIT = {
  /** Done; of a command that waits for a run: it succeeded. */
  done: 0,
  /** The run failed by its own doing; of `doctor`: something is not well. */
  failed: 1,
  /** The arguments, the settings, or a file of this machine. Nothing was asked of the control plane. */
  usage: 2,
  /** The control plane said no. */
  refused: 3,
  /** It could not be reached, or what answered is no control plane. */
  unreachable: 4,
  timed_out: 5,
  cancelled: 6,
  /** The run did not get its chance: the runner, the network, the image or the control plane was in the way. */
  not_carried_out: 7,
  /** Waited for as long as was allowed. */
  gave_up_waiting: 8,
  /** A fault of this program. */
  fault: 70,
} as const

/** What a shell says of a process that a signal has ended. */
export const EXIT_SIGNALLED = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
export type StopSignal = keyof typeof EXIT_SIGNALLED

/** @param run one that has ended */
export function exitOfRun({ status, failure }: Pick<Run, 'status' | 'failure'>): number {
  switch (status) {
    case 'succeeded':
      return EXIT.done
    case 'failed':
      return failure === null || failure.domain === 'test' ? EXIT.failed : EXIT.not_carried_out
    case 'timed_out':
      return EXIT.timed_out
    case 'cancelled':
      return EXIT.cancelled
    case 'lost':
      return EXIT.not_carried_out
    case 'queued':
    case 'offered':
    case 'starting':
    case 'running':
    case 'stopping':
      throw new Error(`a run that is ${status} has not ended`)
  }
}

const EXITS: Readonly<Record<Failure['kind'], number>> = {
  usage: EXIT.usage,
  unknown_name: EXIT.refused,
  refused: EXIT.refused,
  unreachable: EXIT.unreachable,
  unexpected: EXIT.unreachable,
}

export function exitOfFailure({ kind }: Failure): number {
  return EXITS[kind]
}
