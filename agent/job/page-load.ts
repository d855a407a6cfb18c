import { z } from 'zod'
import type { CdpEvent } from '../browser/cdp.ts'

const Responded = z.object({
  loaderId: z.string(),
  type: z.string(),
  response: z.object({ status: z.number() }),
})
const Lifecycle = z.object({ frameId: z.string(), loaderId: z.string(), name: z.string() })

/**
 * Waits for a page that came over the network to load, and tells the status its document was answered with. A page may
 * send the browser on to another one before or instead: the first that loads counts.
 */
export class PageLoad {
  readonly #frameId: string
  readonly #statuses = new Map<string, number>()
  readonly #loaded = Promise.withResolvers<number>()

  constructor(frameId: string) {
    this.#frameId = frameId
  }

  get status(): Promise<number> {
    return this.#loaded.promise
  }

  /** Events of the page's session, with the Network domain and lifecycle events enabled. */
  handle({ method, params }: Pick<CdpEvent, 'method' | 'params'>): void {
    if (method === 'Network.responseReceived') {
      const { loaderId, type, response } = Responded.parse(params)
      // Frames inside the page have loaders of their own.
      if (type === 'Document') this.#statuses.set(loaderId, response.status)
    } else if (method === 'Page.lifecycleEvent') {
      const { frameId, loaderId, name } = Lifecycle.parse(params)
      const status = this.#statuses.get(loaderId)
      if (frameId === this.#frameId && name === 'load' && status !== undefined) this.#loaded.resolve(status)
    }
  }
}
