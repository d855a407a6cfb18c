import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * The control plane's port, which stays the same from one `npm run up` to the next: runners hold a credential for an
 * address, and people have links with it.
 */
const DEFAULT_PORT = 8787
/** A control plane that was just killed needs a moment to be gone. */
const PREDECESSOR_TRIES = 10
const PREDECESSOR_WAIT_MS = 200

/**
 * @param asked by the user, 0 for any; null takes the last one, or the usual one
 * @param file that remembers it
 * @throws when the asked one is taken
 */
export async function takePort(asked: number | null, file: string): Promise<number> {
  const port = asked === null ? await unasked(file) : await tryPort(asked)
  if (port === null)
    throw new Error(
      `--port: ${asked} is already in use; stop what listens there, or leave --port out to have a free one taken`,
    )
  writeFileSync(file, `${port}\n`)
  return port
}

async function unasked(file: string): Promise<number | null> {
  const last = lastPort(file)
  for (let tries = 1; ; tries++) {
    const port = await tryPort(last ?? DEFAULT_PORT)
    if (port !== null) return port
    if (last === null || tries === PREDECESSOR_TRIES) break
    await sleep(PREDECESSOR_WAIT_MS)
  }
  console.log(`Port ${last ?? DEFAULT_PORT} is in use, taking another.`)
  return tryPort(0)
}

function lastPort(file: string): number | null {
  try {
    const text = readFileSync(file, 'utf8').trim()
    return /^\d{1,5}$/.test(text) ? Number(text) : null
  } catch {
    return null
  }
}

function tryPort(port: number): Promise<number | null> {
  return new Promise(resolve => {
    const server = createServer()
    server.on('error', () => resolve(null))
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : null))
    })
  })
}
