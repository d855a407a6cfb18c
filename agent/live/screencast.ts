import { z } from 'zod'
import type { BlankCause } from '../../protocol/stream.ts'
import type { CdpEvent, CdpSender } from '../browser/cdp.ts'
import type { Picture } from './frame-line.ts'
import { activeOf, blankOf, closed, crashed, opened, type Page, type Pages, seen } from './pages.ts'

/**
 * The picture of the active page of one browser, while anybody watches.
 *
 * The active page is cast. Of every other page only its visibility is wanted, which Chromium tells of pages that are
 * cast: so those are cast too, small, and their pictures never acknowledged, which ends them after three. Starting a
 * cast makes Chromium send a picture of what is seen now, also of a page that stands still or hangs; which makes it the
 * way to refresh. A screenshot would wait for the page, and would be taken as a second picture by the cast.
 */

const SHOWN = { format: 'jpeg', quality: 60, maxWidth: 1920, maxHeight: 1920, everyNthFrame: 1 } as const
const LOOKED_AT = { format: 'jpeg', quality: 1, maxWidth: 8, maxHeight: 8, everyNthFrame: 1_000_000 } as const
type Cast = typeof SHOWN | typeof LOOKED_AT

/** Pictures are compressed side by side and may overtake each other by this much; more, and the clock was set. */
const OVERTAKING_LIMIT_S = 2

/**
 * A cast that has been silent for so long is begun anew. Mostly the page is at rest and shows itself once more; but a
 * page that navigates just when its cast begins may never be heard of again.
 */
const SILENCE_LIMIT_MS = 4_000

/** Pages only: not workers, not Chromium's own windows. */
const PAGES_ONLY = [{ type: 'page' }, { exclude: true }]

const Attached = z.object({
  sessionId: z.string(),
  targetInfo: z.object({ targetId: z.string(), type: z.string() }),
})
const Detached = z.object({ sessionId: z.string() })
const Visibility = z.object({ visible: z.boolean() })
const Shot = z.object({
  data: z.string(),
  sessionId: z.number(),
  metadata: z.object({
    deviceWidth: z.number(),
    deviceHeight: z.number(),
    /** Epoch seconds. */
    timestamp: z.number().optional(),
  }),
})

export interface ScreencastParts {
  readonly cdp: CdpSender
  readonly onPicture: (picture: Picture) => void
  /** Whenever it changes: why there is nothing to show, null while there may be. */
  readonly onBlank: (cause: BlankCause | null) => void
  readonly wallMs: () => number
}

export class Screencast {
  readonly #parts: ScreencastParts
  #pages: Pages = []
  #blank: BlankCause | null = null
  /** What was asked of Chromium last, by session. */
  readonly #casts = new Map<string, Cast>()
  #isWatched = false
  #silence: ReturnType<typeof setTimeout> | undefined
  /** When the newest picture of this cast was taken, in epoch seconds. */
  #newest = Number.NEGATIVE_INFINITY

  constructor(parts: ScreencastParts) {
    this.#parts = parts
  }

  /** Learns of the pages there are, and from then on of those that open. Events have to reach `handle` already. */
  async begin(): Promise<void> {
    await this.#parts.cdp.send('Target.setAutoAttach', {
      autoAttach: true,
      waitForDebuggerOnStart: false,
      flatten: true,
      filter: PAGES_ONLY,
    })
    this.#sayBlank()
  }

  get active(): Page | null {
    return activeOf(this.#pages)
  }

  watch(isWatched: boolean): void {
    this.#isWatched = isWatched
    if (!isWatched) clearTimeout(this.#silence)
    this.#apply()
  }

  /** A picture of what is seen now, if anybody watches. */
  refresh(): void {
    const { active } = this
    if (active !== null) this.#cast(active.sessionId, undefined)
    this.#apply()
  }

  handle({ method, params, sessionId }: CdpEvent): void {
    if (method === 'Target.attachedToTarget') {
      const { sessionId, targetInfo } = Attached.parse(params)
      // A second session of a page is somebody else's.
      const isKnown = this.#pages.some(({ targetId }) => targetId === targetInfo.targetId)
      if (targetInfo.type === 'page' && !isKnown)
        this.#change(opened(this.#pages, targetInfo.targetId, sessionId))
    } else if (method === 'Target.detachedFromTarget') {
      const gone = Detached.parse(params).sessionId
      this.#casts.delete(gone)
      this.#change(closed(this.#pages, gone))
    } else if (sessionId !== null && method === 'Page.screencastVisibilityChanged') {
      this.#change(seen(this.#pages, sessionId, Visibility.parse(params).visible))
    } else if (sessionId !== null && method === 'Inspector.targetCrashed') {
      this.#change(crashed(this.#pages, sessionId, true))
    } else if (sessionId !== null && method === 'Inspector.targetReloadedAfterCrash') {
      this.#change(crashed(this.#pages, sessionId, false))
    } else if (sessionId !== null && method === 'Page.screencastFrame') {
      this.#picture(sessionId, params)
    }
  }

  #picture(sessionId: string, params: unknown): void {
    if (!this.#isWatched || this.#blank !== null || this.#casts.get(sessionId) !== SHOWN) return
    this.#limitSilence()
    const { data, metadata, sessionId: cast } = Shot.parse(params)
    const ack = () => this.#tell('Page.screencastFrameAck', { sessionId: cast }, sessionId)
    const takenAt = metadata.timestamp ?? this.#parts.wallMs() / 1000
    if (takenAt < this.#newest && takenAt > this.#newest - OVERTAKING_LIMIT_S) return ack()
    this.#newest = takenAt
    this.#parts.onPicture({
      image: Buffer.from(data, 'base64'),
      capturedAtMs: Math.floor(takenAt * 1000),
      width: Math.round(metadata.deviceWidth),
      height: Math.round(metadata.deviceHeight),
      ack,
    })
  }

  #change(pages: Pages): void {
    this.#pages = pages
    this.#sayBlank()
    this.#apply()
  }

  #sayBlank(): void {
    const blank = blankOf(this.#pages)
    if (blank === this.#blank) return
    this.#blank = blank
    this.#parts.onBlank(blank)
  }

  /** Makes what Chromium casts what should be cast; repeating it changes nothing. */
  #apply(): void {
    const { active } = this
    for (const page of this.#pages) {
      const wanted = page.sessionId === active?.sessionId ? SHOWN : LOOKED_AT
      this.#cast(page.sessionId, this.#isWatched ? wanted : undefined)
    }
  }

  #cast(sessionId: string, wanted: Cast | undefined): void {
    const current = this.#casts.get(sessionId)
    if (current === wanted) return
    if (current !== undefined) this.#tell('Page.stopScreencast', {}, sessionId)
    this.#casts.delete(sessionId)
    if (wanted === undefined) return
    this.#casts.set(sessionId, wanted)
    if (wanted === SHOWN) {
      this.#newest = Number.NEGATIVE_INFINITY
      this.#limitSilence()
    }
    this.#tell('Page.startScreencast', wanted, sessionId)
  }

  #limitSilence(): void {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => this.refresh(), SILENCE_LIMIT_MS)
  }

  /** Chromium handles a session's commands in order; one that fails belongs to a page that is closing. */
  #tell(method: string, params: object, sessionId: string): void {
    this.#parts.cdp.send(method, params, sessionId).catch(() => undefined)
  }
}
