import type { WebSocket } from 'ws'

/** Twice what the liveliest page makes. */
const MESSAGES_PER_SECOND = 120
const BYTES_PER_SECOND = 64 * 1024 * 1024

/**
 * How fast an agent is read. One that sends more has to wait: the daemon's time belongs to its leases, and frames that
 * nobody could be shown are best not made.
 */
export class ReadPace {
  readonly #socket: Pick<WebSocket, 'pause' | 'resume'>
  #messages = 0
  #bytes = 0
  readonly #second: NodeJS.Timeout

  constructor(socket: Pick<WebSocket, 'pause' | 'resume'>) {
    this.#socket = socket
    this.#second = setInterval(() => this.#begin(), 1_000)
  }

  count(bytes: number): void {
    this.#messages += 1
    this.#bytes += bytes
    if (this.#messages > MESSAGES_PER_SECOND || this.#bytes > BYTES_PER_SECOND) this.#socket.pause()
  }

  stop(): void {
    clearInterval(this.#second)
  }

  #begin(): void {
    this.#messages = 0
    this.#bytes = 0
    this.#socket.resume()
  }
}
