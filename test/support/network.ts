import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'
import { Transform } from 'node:stream'

interface Pair {
  readonly near: Socket
  readonly uplink: Transform
  readonly far: Socket
}

function lose({ near, uplink, far }: Pair): void {
  near.unpipe(uplink)
  uplink.unpipe(far)
  far.unpipe(near)
  near.resume()
  far.resume()
}

/**
 * The way between a runner and its control plane, as a relay of bytes that can be made to fail. A websocket is
 * told by the upgrade in the first bytes of its connection.
 */
export class Network {
  /** False: every websocket is refused, as by a proxy that knows none. */
  websockets = true
  /** Of all connections together, towards the control plane. */
  uplinkBytesPerSecond = Number.POSITIVE_INFINITY
  /** When the uplink is free for the next bytes. */
  #freeAt = 0
  readonly #server = createServer(socket => this.#pass(socket))
  readonly #target: URL
  readonly #pairs = new Set<Pair>()
  readonly #upgraded = new Set<Pair>()
  #isCut = false
  readonly #sockets = new Set<Socket>()

  private constructor(target: string) {
    this.#target = new URL(target)
  }

  static async to(target: string): Promise<Network> {
    const network = new Network(target)
    await new Promise<void>(resolve => network.#server.listen(0, '127.0.0.1', resolve))
    return network
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  get openWebsockets(): number {
    return this.#upgraded.size
  }

  /** From now on nothing of the open websockets arrives, on either side, and neither side is told. */
  dropWebsockets(): void {
    for (const pair of this.#upgraded) lose(pair)
    this.#upgraded.clear()
  }

  /** Until it is mended nothing arrives, and what was on its way or is begun meanwhile never will. Nobody is told. */
  cut(): void {
    this.#isCut = true
    for (const pair of this.#pairs) lose(pair)
    this.#pairs.clear()
    this.#upgraded.clear()
  }

  mend(): void {
    this.#isCut = false
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  #pass(near: Socket): void {
    this.#sockets.add(near)
    near.on('error', () => near.destroy())
    near.once('data', first => {
      if (this.#isCut) return void near.resume()
      const upgrade = /^upgrade: *websocket/im.test(first.toString('latin1'))
      if (upgrade && !this.websockets) return void near.destroy()
      const far = connect(Number(this.#target.port), this.#target.hostname)
      this.#sockets.add(far)
      far.on('error', () => near.destroy())
      far.on('close', () => near.destroy())
      const pair = { near, uplink: this.#uplink(), far }
      this.#pairs.add(pair)
      near.on('close', () => {
        this.#pairs.delete(pair)
        far.destroy()
      })
      far.write(first)
      near.pipe(pair.uplink).pipe(far)
      far.pipe(near)
      if (!upgrade) return
      this.#upgraded.add(pair)
      near.on('close', () => this.#upgraded.delete(pair))
    })
  }

  #uplink(): Transform {
    return new Transform({
      transform: (bytes: Buffer, _encoding, passOn) => {
        if (this.uplinkBytesPerSecond === Number.POSITIVE_INFINITY) return void passOn(null, bytes)
        const now = Date.now()
        this.#freeAt = Math.max(this.#freeAt, now) + (bytes.length / this.uplinkBytesPerSecond) * 1000
        setTimeout(passOn, this.#freeAt - now, null, bytes)
      },
    })
  }
}
