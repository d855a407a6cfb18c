import { PUBLISHER_PULSE } from '../../protocol/stream.ts'
import { jittered } from '../clock.ts'

const LAST_CHANCE_MS = 100

/** Pings on one connection: who is answered knows that what was sent before has arrived, who is not that it is dead. */
export class Pulse {
  readonly #sendPing: () => void
  readonly #onSilence: () => void
  /** One for every ping on its way: they are answered in order. */
  readonly #onPong: (() => void)[] = []
  #next: NodeJS.Timeout | undefined
  #limit: NodeJS.Timeout | undefined

  constructor(sendPing: () => void, onSilence: () => void) {
    this.#sendPing = sendPing
    this.#onSilence = onSilence
  }

  start(): void {
    this.#next = setTimeout(() => this.start(), jittered(PUBLISHER_PULSE.pingIntervalMs))
    this.ping()
  }

  /** @param onPong also called when no answer can come any more */
  ping(onPong: () => void = () => undefined): void {
    this.#onPong.push(onPong)
    this.#sendPing()
    if (this.#onPong.length === 1) this.#watch()
  }

  pong(): void {
    this.#onPong.shift()?.()
    this.#watch()
  }

  stop(): void {
    clearTimeout(this.#next)
    clearTimeout(this.#limit)
    for (const onPong of this.#onPong.splice(0)) onPong()
  }

  #watch(): void {
    clearTimeout(this.#limit)
    if (this.#onPong.length === 0) return
    this.#limit = setTimeout(() => {
      // Where it was this process that stood still, the answer is here and only has to be read.
      this.#limit = setTimeout(this.#onSilence, LAST_CHANCE_MS)
    }, PUBLISHER_PULSE.pongTimeoutMs)
  }
}
