import type { BlankCause, Demand, FromPublisher, PublisherHello, ToPublisher } from '../../protocol/stream.ts'
import type { WebsocketParts } from '../api/websocket.ts'
import type { Log } from '../log.ts'
import { supervise } from '../supervisor.ts'
import type { RunnerMetrics } from '../telemetry/instruments.ts'
import { AgentLine } from './agent-line.ts'
import { NewestFrame } from './newest-frame.ts'
import { RelayLine } from './relay-line.ts'

export interface PublisherParts extends WebsocketParts {
  readonly sessionId: string
  /** The session's folder on this host. */
  readonly folder: string
  readonly log: Log
  readonly metrics: Pick<RunnerMetrics, 'relayFailed'>
  /** False where the policy file forbids it: input is then dropped here, whatever the control plane passes on. */
  readonly allowControlInput: boolean
  readonly onOpen: (isOpen: boolean) => void
}

/** The relay tells every viewer and the pool: an agent whose picture comes and goes all the time is not passed on as such. */
const BLANK_PAUSE_MS = 1_000
const NOBODY: Demand = { type: 'demand', viewers: 0, max_fps: 1, refresh: false }

/**
 * Joins a session's agent to its relay. Both lines come and go on their own; what was last said on one is said
 * again when the other one is new. While nobody watches, nothing is passed on, whatever the agent makes.
 */
export class Publisher {
  readonly #parts: PublisherParts
  readonly #agent: AgentLine
  readonly #relay: RelayLine
  readonly #frames: NewestFrame
  #hello: PublisherHello | null = null
  /** As the relay that is connected now was told it. */
  #saidHello: PublisherHello | null = null
  /** Why there is no picture; null while there may be one. */
  #blank: BlankCause | null = null
  /** As the relay knows it: a frame takes it back. */
  #saidBlank: BlankCause | null = null
  /** While it runs, nothing more is said about it. */
  #blankPause: NodeJS.Timeout | undefined
  #demand: Demand = NOBODY

  constructor(parts: PublisherParts) {
    this.#parts = parts
    const { folder, log } = parts
    this.#frames = new NewestFrame((frame, onLeft, onArrived) => {
      this.#sayHello()
      this.#saidBlank = null
      this.#relay.sendFrame(frame, onLeft, onArrived)
    })
    this.#agent = new AgentLine({
      folder,
      log,
      onFrame: frame => {
        this.#blank = null
        if (this.#demand.viewers > 0) this.#frames.push(frame)
      },
      onMessage: message => {
        if (message.type === 'blank') return this.#nothingToShow(message.cause)
        this.#hello = message
        this.#blank = null
      },
      onOpen: () => this.#agent.send({ ...this.#demand, refresh: this.#demand.viewers > 0 }),
      onGone: cause => this.#nothingToShow(cause),
    })
    this.#relay = new RelayLine({
      ...parts,
      onMessage: message => this.#obey(message),
      onOpen: isOpen => {
        this.#frames.clear()
        this.#saidHello = null
        this.#saidBlank = null
        this.#endBlankPause()
        if (isOpen) {
          this.#sayHello()
          this.#sayBlank()
        } else {
          this.#want(NOBODY)
        }
        parts.onOpen(isOpen)
      },
    })
  }

  /** Until aborted, or until the relay has no more use for it. */
  async run(signal: AbortSignal): Promise<void> {
    const done = new AbortController()
    const relaying = async (inner: AbortSignal) => {
      await this.#relay.run(inner)
      done.abort()
    }
    try {
      await supervise([relaying, inner => this.#agent.run(inner)], AbortSignal.any([signal, done.signal]))
    } finally {
      this.#endBlankPause()
    }
  }

  /** Before the frame that it is about, and not whenever the agent says it: that may be often. */
  #sayHello(): void {
    if (this.#hello === null || this.#hello === this.#saidHello) return
    this.#saidHello = this.#hello
    this.#relay.say(JSON.stringify(this.#hello))
  }

  #nothingToShow(cause: BlankCause): void {
    this.#blank = cause
    // A picture from before would look like one of now.
    this.#frames.drop()
    this.#sayBlank()
  }

  /** Now, or what is so then at the end of the pause. */
  #sayBlank(): void {
    if (this.#blank === null || this.#blank === this.#saidBlank || this.#blankPause !== undefined) return
    this.#saidBlank = this.#blank
    this.#relay.say(JSON.stringify({ type: 'blank', cause: this.#blank } satisfies FromPublisher))
    this.#blankPause = setTimeout(() => {
      this.#endBlankPause()
      this.#sayBlank()
    }, BLANK_PAUSE_MS)
  }

  #endBlankPause(): void {
    clearTimeout(this.#blankPause)
    this.#blankPause = undefined
  }

  #obey(message: ToPublisher): void {
    if (message.type === 'demand') this.#want(message)
    else if (this.#parts.allowControlInput) this.#agent.send(message)
  }

  #want(demand: Demand): void {
    this.#demand = demand
    if (demand.viewers === 0) this.#frames.drop()
    this.#agent.send(demand)
  }
}
