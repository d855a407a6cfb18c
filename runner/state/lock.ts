import { randomBytes } from 'node:crypto'
import { closeSync, linkSync, openSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { SettingsError } from '../settings-error.ts'
import { errorCode } from './files.ts'

/**
 * One daemon per state directory. The lock is a listening unix socket inside it: the kernel closes it with its
 * process, however that dies, and a path on a shared mount is seen from every container, where a pid is not.
 * Taking over a dead one is a deletion and a hard link; the new owner then looks once more whether it is itself.
 */
const NAME = 'lock.sock'
/** A socket on its way to become the lock; one that is left over is of a process that was killed just then. */
const DRAFT = /^lock\.[0-9a-f]{8}\.sock$/

/** A bound socket that nobody listens on; none at all. */
const DEAD: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT'])

export interface StateLock {
  release(): void
}

/** @throws SettingsError when a living process holds the directory */
export async function lockStateDirectory(directory: string): Promise<StateLock> {
  // Through the descriptor, because a socket's path may have 107 bytes only.
  const handle = openSync(directory, 'r')
  const at = (name: string) => `/proc/self/fd/${handle}/${name}`
  const own = `lock.${randomBytes(4).toString('hex')}.sock`
  const server = await listen(at(own), own)
  try {
    for (let attempt = 0; ; attempt++) {
      if (await tryLink(at(own), at(NAME))) break
      if (attempt === 3 || (await ownerOf(at(NAME))) !== null) throw heldError(directory)
      rmSync(at(NAME), { force: true })
    }
    if ((await ownerOf(at(NAME))) !== own) throw heldError(directory)
  } catch (error) {
    server.close()
    rmSync(at(own), { force: true })
    closeSync(handle)
    throw error
  }
  rmSync(at(own), { force: true })
  for (const name of readdirSync(directory)) {
    if (DRAFT.test(name) && (await ownerOf(at(name))) === null) rmSync(at(name), { force: true })
  }
  return {
    release: () => {
      rmSync(at(NAME), { force: true })
      server.close()
      closeSync(handle)
    },
  }
}

function heldError(directory: string): SettingsError {
  return new SettingsError(
    `RUNNER_STATE_DIR: ${directory} is in use by another runner process; give each runner a directory of its own`,
  )
}

function listen(path: string, name: string): Promise<Server> {
  const server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.end(name)
  })
  server.unref()
  return new Promise((resolve, reject) => {
    // Also of callers that cannot be let in, once it listens: they matter less than what is locked.
    server.on('error', reject)
    server.listen(path, () => resolve(server))
  })
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

/** @returns the living owner's name, empty when it may live but does not answer, null when it is proven dead or gone */
function ownerOf(path: string): Promise<string | null> {
  return new Promise(resolve => {
    let name = ''
    const socket = connect(path)
    socket.setTimeout(1000, () => {
      socket.destroy()
      resolve('')
    })
    socket.on('data', chunk => {
      name += chunk.toString('utf8')
    })
    socket.on('end', () => resolve(name))
    // Anything else, such as a full queue of callers, says nothing about the process behind it.
    socket.on('error', error => resolve(DEAD.has(errorCode(error)) ? null : ''))
  })
}
