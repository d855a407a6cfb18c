import { execFileSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { IMAGE } from './engine.ts'
import { removeDirectory, temporaryDirectory } from './runner-process.ts'

const MANIFEST_TYPE = 'application/vnd.docker.distribution.manifest.v2+json'

export interface ImageRegistry {
  readonly image: string
  /** How often its manifest was fetched. */
  readonly pulls: () => number
  close(): void
}

/** A registry with one image, the test image under an id of its own. */
export async function startImageRegistry(): Promise<ImageRegistry> {
  const { config, layer } = contentOf(IMAGE)
  const blobs = new Map([config, layer].map(blob => [digestOf(blob), blob]))
  const describe = (mediaType: string, blob: Buffer) => ({
    mediaType,
    size: blob.length,
    digest: digestOf(blob),
  })
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: describe('application/vnd.docker.container.image.v1+json', config),
      layers: [describe('application/vnd.docker.image.rootfs.diff.tar.gzip', layer)],
    }),
  )
  let pulls = 0
  const server = createServer(({ url = '', method }, response) => {
    if (url === '/v2/') return void response.end('{}')
    const isManifest = url.includes('/manifests/')
    const found = isManifest ? manifest : blobs.get(url.slice(url.lastIndexOf('/') + 1))
    if (found === undefined) return void response.writeHead(404).end('{}')
    if (isManifest) pulls += 1
    response.writeHead(200, {
      'content-type': isManifest ? MANIFEST_TYPE : 'application/octet-stream',
      'content-length': found.length,
      'docker-content-digest': digestOf(found),
    })
    response.end(method === 'HEAD' ? undefined : found)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    image: `127.0.0.1:${port}/team/agent:1`,
    pulls: () => pulls,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

function contentOf(image: string): { config: Buffer; layer: Buffer } {
  const directory = temporaryDirectory()
  try {
    const tar = join(directory, 'image.tar')
    execFileSync('docker', ['save', '-o', tar, image])
    execFileSync('tar', ['-xf', tar, '-C', directory])
    const read = (name: string) => readFileSync(join(directory, name))
    const [{ Config, Layers }] = JSON.parse(read('manifest.json').toString())
    const config = JSON.parse(read(Config).toString())
    config.config.Labels = { ...config.config.Labels, 'certyn-test.copy': randomUUID() }
    return { config: Buffer.from(JSON.stringify(config)), layer: gzipSync(read(Layers[0])) }
  } finally {
    removeDirectory(directory)
  }
}

function digestOf(blob: Buffer): string {
  return `sha256:${createHash('sha256').update(blob).digest('hex')}`
}
