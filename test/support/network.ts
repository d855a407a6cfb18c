import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'

/**
 * The way between a runner and its control plane, as a relay of bytes that can be made to fail. A websocket is
 * told by the upgrade in the first bytes of its connection.
 */
export class Network {
  /** False: every websocket is refused, as by a proxy that knows none. */
  websockets = true
  readonly #server = createServer(socket => this.#pass(socket))
  readonly #target: URL
  readonly #upgraded = new Set<{ near: Socket; far: Socket }>()
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
    for (const { near, far } of this.#upgraded) {
      near.unpipe(far)
      far.unpipe(near)
      near.resume()
      far.resume()
    }
    this.#upgraded.clear()
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  #pass(near: Socket): void {
    this.#sockets.add(near)
    near.on('error', () => near.destroy())
    near.once('data', first => {
      const upgrade = /^upgrade: *websocket/im.test(first.toString('latin1'))
      if (upgrade && !this.websockets) return void near.destroy()
      const far = connect(Number(this.#target.port), this.#target.hostname)
      this.#sockets.add(far)
      far.on('error', () => near.destroy())
      far.on('close', () => near.destroy())
      near.on('close', () => far.destroy())
      far.write(first)
      near.pipe(far)
      far.pipe(near)
      if (!upgrade) return
      const pair = { near, far }
      this.#upgraded.add(pair)
      near.on('close', () => this.#upgraded.delete(pair))
    })
  }
}
