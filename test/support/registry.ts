import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * Just enough of an image registry to fail in each of its ways. The Engine speaks plain HTTP to a registry on
 * loopback, so it needs no certificate.
 */
export interface Registry {
  /** Repositories: `missing` has no such manifest, `private` wants a login, `slow` never answers. */
  image(repository: 'missing' | 'private' | 'slow'): string
  /** Times the `slow` repository was asked. */
  readonly slowRequests: () => number
  close(): Promise<void>
}

export async function startRegistry(): Promise<Registry> {
  let slow = 0
  const server = createServer((request, response) => {
    const url = request.url ?? ''
    response.setHeader('docker-distribution-api-version', 'registry/2.0')
    if (url === '/v2/') return void response.end('{}')
    if (url.startsWith('/v2/slow/')) {
      slow += 1
      return
    }
    const denied = url.startsWith('/v2/private/')
    response.statusCode = denied ? 401 : 404
    response.setHeader('content-type', 'application/json')
    if (denied) response.setHeader('www-authenticate', 'Basic realm="registry"')
    const error = denied
      ? { code: 'UNAUTHORIZED', message: 'authentication required' }
      : { code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }
    response.end(JSON.stringify({ errors: [error] }))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    image: repository => `127.0.0.1:${port}/${repository}/agent:v1`,
    slowRequests: () => slow,
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
