import { STREAM_CLOSE } from '../../protocol/stream.ts'
import type { Permission } from './permission.ts'

/** What the page shows of the connection. */
export interface Phase {
  readonly phase: 'connecting' | 'waiting' | 'live' | 'ended' | 'refused'
  readonly reason: string
  /** What whoever watches can do about it. Nothing where only waiting helps, or not even that. */
  readonly remedy?: Remedy
}

export type Remedy = 'try_again' | 'sign_in' | 'find_run'

export const HEADLINES: Readonly<Record<Phase['phase'], string>> = {
  connecting: 'Connecting',
  waiting: 'Waiting',
  live: 'Live',
  ended: 'Ended',
  refused: 'Cannot be watched',
}

/** @returns what stands where the picture will be, as long as there was none */
export function insteadOfPicture({ phase, reason }: Phase): string {
  switch (phase) {
    case 'connecting':
    case 'live':
      return 'No picture yet.'
    case 'waiting':
      return 'The picture comes when the run has started.'
    case 'ended':
      return 'The run has ended; there is no picture of it.'
    case 'refused':
      return `${reason.charAt(0).toUpperCase()}${reason.slice(1).replace(/\.$/, '')}.`
  }
}

/** A link that is not good stays so. Whoever has a session or a key may get another one. */
export function refusalOf(permission: Permission, code: string | number | undefined, detail: string): Phase {
  switch (code) {
    case 'unauthenticated':
    case STREAM_CLOSE.unauthenticated:
      return permission.kind === 'link'
        ? { phase: 'refused', reason: detail }
        : { phase: 'refused', reason: 'open the link you were given, or sign in', remedy: 'sign_in' }
    case 'not_found':
      // A link is good for nothing but its run.
      return {
        phase: 'refused',
        reason: detail,
        ...(permission.kind === 'session' && { remedy: 'find_run' }),
      }
    case 'feature_disabled':
    case STREAM_CLOSE.forbidden:
    case STREAM_CLOSE.malformed:
      return { phase: 'refused', reason: detail, remedy: 'try_again' }
    default:
      return { phase: 'refused', reason: detail }
  }
}
