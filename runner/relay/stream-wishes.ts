import type { Command } from '../../protocol/runner-api.ts'

/**
 * For which sessions the control plane wants a line to the relay, and for which there is one.
 *
 * A wish outlives its command: the command is gone from the replies once its effect was acknowledged, and the line is
 * to stay until the opposite is said, the session ends, or the relay has no more use for it. Of several commands about
 * one session only the last counts.
 */
export class StreamWishes {
  readonly #wanted = new Set<string>()
  readonly #open = new Set<string>()

  apply(commands: readonly Command[]): void {
    for (const { type, session_id } of commands) {
      if (type === 'open_stream') this.#wanted.add(session_id)
      else if (type === 'close_stream') this.#wanted.delete(session_id)
    }
  }

  wanted(): string[] {
    return [...this.#wanted]
  }

  /** Whether what the command asks for is so. */
  holds({ type, session_id }: Command): boolean {
    const isOpen = this.#open.has(session_id)
    return type === 'open_stream' ? isOpen || !this.#wanted.has(session_id) : !isOpen
  }

  noteOpen(sessionId: string, isOpen: boolean): void {
    if (isOpen) this.#open.add(sessionId)
    else this.#open.delete(sessionId)
  }

  /** The session has ended here, or the relay wants no more of it. */
  forget(sessionId: string): void {
    this.#wanted.delete(sessionId)
    this.#open.delete(sessionId)
  }
}
