import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'

/** Not among Node's constants: the descriptor names the file and opens nothing. */
const O_PATH = 0o10000000

/**
 * Connects to the socket that a session's agent listens on.
 *
 * The job may put anything there, a link to the Engine's socket first of all. So the name is resolved once, without
 * following it, what it named is looked at, and the connection goes through that very descriptor; which also frees
 * it from the length that socket paths may have.
 * @returns null while there is no socket to connect to @throws when something else lies there
 */
export async function connectStreamSocket(folder: string): Promise<net.Socket | null> {
  const path = join(folder, 'stream.sock')
  const handle = await open(path, O_PATH | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (handle === null) return null
  try {
    if (!(await handle.stat()).isSocket()) throw new NotASocketError(path)
    return await connected(`/proc/self/fd/${handle.fd}`)
  } finally {
    await handle.close()
  }
}

export class NotASocketError extends Error {
  constructor(path: string) {
    super(`${path} is not a socket: nothing is read through it`)
    this.name = 'NotASocketError'
  }
}

function connected(path: string): Promise<net.Socket | null> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path })
    // For good: the job can end the connection before anybody else listens, and an error unheard ends the daemon.
    socket.on('error', () => undefined)
    const onConnect = () => {
      socket.off('error', onRefusal)
      resolve(socket)
    }
    const onRefusal = (error: NodeJS.ErrnoException) => {
      socket.off('connect', onConnect)
      // Its file is there before anybody listens, and after the listener has gone.
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(null)
      // The descriptor's number in the message is another one every time.
      else reject(new Error(`the socket cannot be connected to: ${error.code ?? error.message}`))
    }
    socket.once('connect', onConnect)
    socket.once('error', onRefusal)
  })
}
