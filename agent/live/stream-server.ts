import { chmodSync, closeSync, constants, lstatSync, openSync, unlinkSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { basename, dirname, join } from 'node:path'
import { WebSocket, WebSocketServer } from 'ws'
import { readMessage, STREAM_CLOSE, STREAM_TEXT_LIMIT_BYTES, ToPublisher } from '../../protocol/stream.ts'

/** A longer path does not fit into the address of a unix socket. */
const SOCKET_PATH_LIMIT_BYTES = 107
/** A client that reads nothing more holds the newest frame back for no longer than this. */
const CLOSE_TIMEOUT_MS = 1_000
/** The runner is another user. */
const ANYONE = 0o666

export interface StreamHandlers {
  /** Somebody is there, and wants nothing until they say so. */
  readonly onOpen: () => void
  readonly onMessage: (message: ToPublisher) => void
  readonly onClose: () => void
}

/**
 * A websocket server on a unix socket, for the one client that the runner is. A newer one takes the older one's place,
 * because the older one may be a runner that died unseen.
 */
export class StreamServer {
  readonly #server: Server
  readonly #handlers: StreamHandlers
  #client: WebSocket | null = null

  /** @throws when nothing can listen at this path, or when something that is not a socket lies there */
  static async listen(path: string, handlers: StreamHandlers): Promise<StreamServer> {
    removeStaleSocket(path)
    const server = createServer((_request, response) => response.writeHead(426).end())
    // The folder stays open as long as the server, which removes its socket when it closes.
    const within = shortened(path)
    server.on('close', within.release)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ path: within.path }, () => resolve())
    })
    chmodSync(path, ANYONE)
    return new StreamServer(server, handlers)
  }

  private constructor(server: Server, handlers: StreamHandlers) {
    this.#server = server
    this.#handlers = handlers
    const sockets = new WebSocketServer({
      server,
      maxPayload: STREAM_TEXT_LIMIT_BYTES,
      perMessageDeflate: false,
    })
    sockets.on('connection', socket => this.#adopt(socket))
  }

  /** @param done is called when the message has been handed to the system, or never will be */
  send(message: string | Uint8Array, done: () => void = () => undefined): void {
    if (this.#client?.readyState !== WebSocket.OPEN) return done()
    this.#client.send(message, () => done())
  }

  close(): void {
    this.#client?.terminate()
    this.#server.close()
  }

  #adopt(socket: WebSocket): void {
    if (this.#client !== null) sendOff(this.#client)
    this.#client = socket
    socket.on('message', (data, isBinary) => {
      if (this.#client !== socket || socket.readyState !== WebSocket.OPEN) return
      const message = isBinary ? null : readMessage(ToPublisher, String(data))
      if (message === null) socket.close(STREAM_CLOSE.malformed, 'not a message of this protocol')
      else if (message !== 'of_a_later_release') this.#handlers.onMessage(message)
    })
    // What is too large ends the connection by itself.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      if (this.#client !== socket) return
      this.#client = null
      this.#handlers.onClose()
    })
    this.#handlers.onOpen()
  }
}

function sendOff(former: WebSocket): void {
  former.close(STREAM_CLOSE.replaced, 'replaced')
  setTimeout(() => former.terminate(), CLOSE_TIMEOUT_MS).unref()
}

/** An earlier agent may have left its socket. Anything else is not the agent's to remove. */
function removeStaleSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error(`${path} is there already and is not a socket`)
  unlinkSync(path)
}

/** The same file under a name that fits, through a descriptor of its folder where it has to be. */
function shortened(path: string): { readonly path: string; readonly release: () => void } {
  if (Buffer.byteLength(path) <= SOCKET_PATH_LIMIT_BYTES) return { path, release: () => undefined }
  const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  return { path: join(`/proc/self/fd/${folder}`, basename(path)), release: () => closeSync(folder) }
}
