import { FRAME_LIMIT_BYTES } from '../../protocol/limits.ts'
import {
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
const BLANK = JSON.stringify({ type: 'blank', cause: 'no_browser' } satisfies FromPublisher)
/** A page that hangs answers no input; what a viewer does meanwhile is lost rather than done all at once later. */
const INPUT_IN_FLIGHT_LIMIT = 64
const SEQ_MODULUS = 2 ** 32

/**
 * Joins the stream socket to the browser. Either may come and go: a runner connects again, Chromium is started again,
 * and the frames' numbers go on. While nobody watches, nothing is captured.
 */
export class LiveView {
  readonly #say: Say
  readonly #line: FrameLine
  #server: StreamServer | null = null
  #cdp: CdpConnection | null = null
  #screencast: Screencast | null = null
  #demand: Demand = NOBODY
  #hello: PublisherHello = { type: 'hello', ...VIEWPORT }
  #seq = 0
  #inputsInFlight = 0
  #browserEnded = false
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
          if (this.#browserEnded) this.#server?.send(BLANK)
        },
        onMessage: message => this.#obey(message),
        onClose: () => this.#want(NOBODY),
      })
    } catch (error) {
      this.#say(`no live view: ${reasonOf(error)}`)
    }
  }

  /** Shows this browser from now on, until its connection ends. */
  async follow(cdp: CdpConnection): Promise<void> {
    const screencast = new Screencast({
      cdp,
      wallMs: Date.now,
      onPicture: picture => this.#line.push(picture),
    })
    this.#cdp = cdp
    this.#screencast = screencast
    this.#browserEnded = false
    const stopListening = cdp.listen(event => screencast.handle(event))
    cdp.closed.then(() => {
      stopListening()
      screencast.watch(false)
      if (this.#screencast !== screencast) return
      this.#cdp = null
      this.#screencast = null
      this.#line.clear()
      this.#browserEnded = true
      this.#server?.send(BLANK)
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

  #act(event: InputEvent): void {
    const page = this.#screencast?.active ?? null
    if (page === null || this.#cdp === null || this.#inputsInFlight >= INPUT_IN_FLIGHT_LIMIT) return
    if (event.kind === 'key' && !isForPage(event)) return
    const { method, params } = inputCall(event)
    this.#inputsInFlight += 1
    this.#cdp
      .send(method, params, page.sessionId)
      // The page may have closed under the viewer's hand.
      .catch(() => undefined)
      .finally(() => {
        this.#inputsInFlight -= 1
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
