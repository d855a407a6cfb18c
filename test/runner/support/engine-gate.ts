import { chmodSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'

/** A unix socket in front of the Engine's, which a test can shut as if the Engine had stopped, and open again. */
export class EngineGate {
  readonly path: string
  readonly #target: string
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null

  constructor(path: string, target: string) {
    this.path = path
    this.#target = target
  }

  async open(): Promise<void> {
    const server = createServer(near => {
      const far = connect(this.#target)
      for (const socket of [near, far]) {
        this.#sockets.add(socket)
        socket.on('error', () => undefined)
        socket.on('close', () => {
          this.#sockets.delete(socket)
          near.destroy()
          far.destroy()
        })
      }
      near.pipe(far)
      far.pipe(near)
    })
    await new Promise<void>(resolve => server.listen(this.path, resolve))
    chmodSync(this.path, 0o600)
    this.#server = server
  }

  shut(): void {
    this.#server?.close()
    rmSync(this.path, { force: true })
    for (const socket of this.#sockets) socket.destroy()
  }
}
