import type { Action } from '../session-types.ts'

export type EngineAction = Exclude<Action, { readonly type: 'journal' }>

/** One call to the Engine on a session's behalf. */
export interface Call {
  readonly session_id: string
  readonly type: EngineAction['type']
  readonly beganMs: number
  readonly abort: AbortController
}

/** The calls in flight: of each session at most one whose outcome counts, and beside it those that were given up. */
export class SessionCalls {
  readonly #current = new Map<string, Call>()
  /** Given up, and not yet back: they may still take effect. */
  readonly #strays = new Set<Call>()

  begin(call: Call): void {
    this.#current.set(call.session_id, call)
  }

  of(sessionId: string): Call | undefined {
    return this.#current.get(sessionId)
  }

  /** Those whose outcome counts. */
  current(): readonly Call[] {
    return [...this.#current.values()]
  }

  hasStray(sessionId: string): boolean {
    return [...this.#strays].some(call => call.session_id === sessionId)
  }

  giveUp(call: Call): void {
    this.#current.delete(call.session_id)
    this.#strays.add(call)
    call.abort.abort()
  }

  /** It has come back, whichever way. */
  end(call: Call): void {
    this.#strays.delete(call)
    if (this.#current.get(call.session_id) === call) this.#current.delete(call.session_id)
  }

  abortAll(): void {
    for (const { abort } of this.#current.values()) abort.abort()
  }
}
