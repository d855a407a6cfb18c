import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { selfSigned } from './support/certificate.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

/** A control plane whose name only the proxy knows and whose certificate only a private CA vouches for. */
const NAME = 'control-plane.test'

let directory: string
let plane: FakeControlPlane
let proxy: Server
let tunnels: string[]
const sockets = new Set<Socket>()

beforeAll(async () => {
  directory = temporaryDirectory()
  const certificate = selfSigned(directory, `DNS:${NAME}`)
  plane = await FakeControlPlane.start(certificate)
  tunnels = []
  proxy = createServer()
  proxy.on('connect', (request, near: Socket) => {
    tunnels.push(request.url ?? '')
    const far = connect(plane.port, '127.0.0.1', () => {
      near.write('HTTP/1.1 200 Connection established\r\n\r\n')
      near.pipe(far)
      far.pipe(near)
    })
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        near.destroy()
        far.destroy()
      })
    }
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
})

afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  proxy.close()
  await plane.stop()
  removeDirectory(directory)
})

test('calls and the doorbell go through HTTPS_PROXY and trust NODE_EXTRA_CA_CERTS', async () => {
  const { port } = proxy.address() as AddressInfo
  const runner = new RunnerProcess({
    ...settingsFor(plane, join(directory, 'state'), 'host'),
    CONTROL_PLANE_URL: `https://${NAME}`,
    HTTPS_PROXY: `http://127.0.0.1:${port}`,
    NODE_EXTRA_CA_CERTS: join(directory, 'ca.pem'),
  })
  try {
    await until('a sync', () => plane.lastSync?.inventory === 'complete')
    await until('a doorbell', () => plane.doorbellsOpened > 0)
    expect(new Set(tunnels)).toEqual(new Set([`${NAME}:443`]))
    expect(tunnels.length).toBeGreaterThan(1)
  } finally {
    await runner.destroy()
  }
})

test('without the CA the line in the log names the certificate', async () => {
  const { port } = proxy.address() as AddressInfo
  const runner = new RunnerProcess({
    ...settingsFor(plane, join(directory, 'other-state'), 'host'),
    CONTROL_PLANE_URL: `https://${NAME}`,
    HTTPS_PROXY: `http://127.0.0.1:${port}`,
  })
  try {
    await until('the complaint', () => runner.logged('registration failed'))
    expect(runner.logged('registration failed')?.error).toMatch(/certificate/)
  } finally {
    await runner.destroy()
  }
})
