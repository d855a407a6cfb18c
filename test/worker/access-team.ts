import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestProject } from 'vitest/node'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the stand-in for a Cloudflare Access team listens. */
    accessTeam: string
  }
}

/**
 * A stand-in for a Cloudflare Access team: a server that publishes keys where a team does, and what a test tells it to
 * instead. Tests sign with the private halves themselves.
 */
export default async function startTeam(project: TestProject): Promise<() => Promise<void>> {
  let certs = { status: 200, body: '{"keys": []}' }
  let fetched = 0
  const server = createServer(async (request, response) => {
    if (request.method === 'PUT') {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      certs = JSON.parse(Buffer.concat(chunks).toString())
      fetched = 0
      response.end()
    } else if (request.url === '/cdn-cgi/access/certs') {
      fetched += 1
      response.writeHead(certs.status, { 'content-type': 'application/json' }).end(certs.body)
    } else {
      response.end(String(fetched))
    }
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  project.provide('accessTeam', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  return () =>
    new Promise(resolve => {
      server.closeAllConnections()
      server.close(() => resolve())
    })
}
