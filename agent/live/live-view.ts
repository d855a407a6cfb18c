import { FRAME_LIMIT_BYTES } from '../../protocol/limits.ts'
import {
  type BlankCause,
  type Demand,
  encodeFrame,
  FRAME_HEADER_BYTES,
  type FromPublisher,
  type InputEvent,
  type PublisherHello,
  type ToPublisher,
} from '../../protocol/stream.ts'
import type { CdpConnection } from '../browser/cdp.ts'
import { VIEWPORT } from '../browser/flags.ts'
import { reasonOf, type Say } from '../say.ts'
import { isForPage } from './browser-keys.ts'
import { FrameLine, type Picture } from './frame-line.ts'
import { inputCall } from './input.ts'
import { Screencast } from './screencast.ts'
import { StreamServer } from './stream-server.ts'

const NOBODY: Demand = { type: 'demand', viewers: 0, max_fps: 1, refresh: false }
/** A page that hangs answers no input; what a viewer does meanwhile is lost rather than done all at once later. */
const INPUT_IN_FLIGHT_LIMIT = 64
const SEQ_MODULUS = 2 ** 32

type Followed = Pick<CdpConnection, 'send' | 'listen' | 'closed'>

/**
 * Joins the stream socket to the browser. Either may come and go: a runner connects again, Chromium is started again,
 * and the frames' numbers go on. While nobody watches, nothing is captured.
 */
export class LiveView {
  readonly #say: Say
  readonly #line: FrameLine
  #server: StreamServer | null = null
  #cdp: Followed | null = null
  #screencast: Screencast | null = null
  #demand: Demand = NOBODY
  #hello: PublisherHello = { type: 'hello', ...VIEWPORT }
  #seq = 0
  /** Of the page that was acted on last: one that hangs must not cost another its control. */
  #inputs = { sessionId: '', inFlight: 0 }
  /** Why there is nothing to show; null while there may be. */
  #blank: BlankCause | null = null
  #saidTooLarge = false

  constructor(say: Say) {
    this.#say = say
    this.#line = new FrameLine({
      send: (picture, done) => this.#send(picture, done),
      catchUp: () => this.#screencast?.refresh(),
      now: () => performance.now(),
    })
  }

  /** Without a socket the run goes on; it cannot be watched, and the log says why. */
  async listen(path: string): Promise<void> {
    try {
      this.#server = await StreamServer.listen(path, {
        onOpen: () => {
          this.#want(NOBODY)
          this.#server?.send(JSON.stringify(this.#hello))
          this.#sayBlank()
        },
        onMessage: message => this.#obey(message),
        onClose: () => this.#want(NOBODY),
      })
    } catch (error) {
      this.#say(`no live view: ${reasonOf(error)}`)
    }
  }

  /** Shows this browser from now on, until its connection ends. */
  async follow(cdp: Followed): Promise<void> {
    const screencast = new Screencast({
      cdp,
      wallMs: Date.now,
      onPicture: picture => this.#line.push(picture),
      onBlank: cause => {
        if (this.#screencast === screencast) this.#nothingToShow(cause)
      },
    })
    this.#cdp = cdp
    this.#screencast = screencast
    this.#blank = null
    const stopListening = cdp.listen(event => screencast.handle(event))
    cdp.closed.then(() => {
      stopListening()
      screencast.watch(false)
      if (this.#screencast !== screencast) return
      this.#cdp = null
      this.#screencast = null
      this.#nothingToShow('no_browser')
    })
    screencast.watch(this.#demand.viewers > 0)
    await screencast.begin()
  }

  close(): void {
    this.#want(NOBODY)
    this.#server?.close()
  }

  #obey(message: ToPublisher): void {
    if (message.type === 'demand') this.#want(message)
    else if (this.#demand.viewers > 0) this.#act(message.event)
  }

  #want(demand: Demand): void {
    const wasWatched = this.#demand.viewers > 0
    const isWatched = demand.viewers > 0
    this.#demand = demand
    this.#line.setMaxFps(demand.max_fps)
    if (!isWatched) this.#line.clear()
    this.#screencast?.watch(isWatched)
    // Whoever is first is shown the page as it is without asking.
    if (isWatched && wasWatched && demand.refresh) this.#screencast?.refresh()
  }

  #nothingToShow(cause: BlankCause | null): void {
    this.#blank = cause
    // A picture from before would look like one of now.
    if (cause !== null) this.#line.clear()
    this.#sayBlank()
  }

  #sayBlank(): void {
    if (this.#blank === null) return
    this.#server?.send(JSON.stringify({ type: 'blank', cause: this.#blank } satisfies FromPublisher))
  }

  #act(event: InputEvent): void {
    const page = this.#screencast?.active ?? null
    if (page === null || this.#cdp === null) return
    if (page.sessionId !== this.#inputs.sessionId) this.#inputs = { sessionId: page.sessionId, inFlight: 0 }
    const inputs = this.#inputs
    if (inputs.inFlight >= INPUT_IN_FLIGHT_LIMIT) return
    if (event.kind === 'key' && !isForPage(event)) return
    const { method, params } = inputCall(event)
    inputs.inFlight += 1
    this.#cdp
      .send(method, params, page.sessionId)
      // The page may have closed under the viewer's hand.
      .catch(() => undefined)
      .finally(() => {
        inputs.inFlight -= 1
      })
  }

  #send(picture: Picture, done: () => void): void {
    const { image, capturedAtMs, width, height } = picture
    if (this.#server === null) return done()
    if (image.byteLength + FRAME_HEADER_BYTES > FRAME_LIMIT_BYTES) return this.#tooLarge(image, done)
    if (width !== this.#hello.width || height !== this.#hello.height) {
      this.#hello = { type: 'hello', width, height }
      this.#server.send(JSON.stringify(this.#hello))
    }
    const seq = this.#seq
    this.#seq = (seq + 1) % SEQ_MODULUS
    this.#server.send(encodeFrame({ seq, capturedAtMs, image }), done)
  }

  #tooLarge(image: Uint8Array, done: () => void): void {
    if (!this.#saidTooLarge) this.#say(`a frame of ${image.byteLength} bytes is too large for the live view`)
    this.#saidTooLarge = true
    done()
  }
}
