import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeCertificate } from './support/certificates.ts'
import { examine, outcomes } from './support/doctor.ts'
import { FakeControlPlane, POOL } from './support/fake-control-plane.ts'
import { RunnerProcess, removeDirectory, temporaryDirectory } from './support/runner-process.ts'

const STRETCHES = ['DNS', 'proxy', 'connection', 'TLS', 'control plane', 'clock', 'websocket']

let directory: string
const closing: (() => unknown)[] = []
beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
  removeDirectory(directory)
})

function settings(url: string, change: Readonly<Record<string, string>> = {}) {
  const fixed = { RUNNER_POOL_ID: POOL, RUNNER_EXECUTOR: 'host', RUNNER_STATE_DIR: directory }
  return { ...fixed, CONTROL_PLANE_URL: url, RUNNER_MIN_DISK_MB: '0', ...change }
}

async function look(url: string, change: Readonly<Record<string, string>> = {}) {
  return examine(settings(url, change))
}

async function aPlane(tls?: { key: Buffer; cert: Buffer }): Promise<FakeControlPlane> {
  const plane = await FakeControlPlane.start(tls)
  closing.push(() => plane.stop())
  return plane
}

/** @returns its port */
async function listening(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  const sockets = new Set<Duplex>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  server.on('error', () => undefined)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

/** A web server that answers every plain request in one way. */
async function aServer(answer: RequestListener): Promise<{ server: Server; url: string }> {
  const server = createServer(answer)
  return { server, url: `http://127.0.0.1:${await listening(server)}` }
}

const healthy: RequestListener = (_request, response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ status: 'ok', version: '0' }))
}

test('a good way is ok all along', async () => {
  const plane = await aPlane()
  const found = await look(plane.url)
  expect(outcomes(found, STRETCHES)).toBe(STRETCHES.map(name => `${name} ok`).join(', '))
  expect(found.get('DNS')?.seen).toBe('127.0.0.1 is an address')
  expect(plane.doorbellsOpened).toBe(0)
})

test('a name that is not resolved fails once, and what needs it is skipped, naming what it needs', async () => {
  const found = await look('https://no-such-host.invalid')
  expect(outcomes(found, STRETCHES)).toBe(
    'DNS fail, proxy skipped, connection skipped, TLS skipped, control plane skipped, clock skipped, websocket skipped',
  )
  expect(found.get('DNS')?.seen).toMatch(/^no-such-host\.invalid cannot be resolved/)
  expect(found.get('DNS')?.remedy).toContain('CONTROL_PLANE_URL')
  expect(found.get('proxy')?.seen).toBe('skipped (needs: DNS)')
  expect(found.get('clock')?.seen).toBe('skipped (needs: control plane)')
})

test('a port where nothing listens is a failure of the connection', async () => {
  const found = await look('https://127.0.0.1:1')
  expect(outcomes(found, STRETCHES.slice(0, 4))).toBe('DNS ok, proxy ok, connection fail, TLS skipped')
  expect(found.get('connection')).toMatchObject({
    seen: expect.stringContaining('ECONNREFUSED'),
    remedy: expect.stringContaining('check the port in CONTROL_PLANE_URL'),
  })
})

describe('a proxy', () => {
  /** @param status of its answer to CONNECT; at 200 it connects to the port, whatever is asked for */
  async function aProxy(status: number, to = 0): Promise<{ port: number; asked: string[] }> {
    const asked: string[] = []
    const server = createServer()
    server.on('connect', (request, near: Socket) => {
      asked.push(request.url ?? '')
      near.on('error', () => undefined)
      if (status !== 200) return near.end(`HTTP/1.1 ${status} No\r\n\r\n`)
      const far = connect(to, '127.0.0.1', () => {
        near.write('HTTP/1.1 200 Connection established\r\n\r\n')
        near.pipe(far).pipe(near)
      })
      far.on('error', () => near.destroy())
      near.on('close', () => far.destroy())
      return near
    })
    return { port: await listening(server), asked }
  }

  test('that nothing listens at fails, without the password of its address', async () => {
    const found = await look('https://cp.test', { HTTPS_PROXY: 'http://someone:hunter2@127.0.0.1:1' })
    expect(outcomes(found, STRETCHES.slice(0, 3))).toBe('DNS ok, proxy fail, connection skipped')
    expect(found.get('proxy')?.seen).toMatch(/^127\.0\.0\.1:1 cannot be reached: .*ECONNREFUSED/)
    expect(found.get('proxy')?.remedy).toContain('check host and port of HTTPS_PROXY')
    expect(JSON.stringify([...found])).not.toMatch(/someone|hunter2/)
  })

  test.each([
    [407, 'proxy', 'HTTPS_PROXY=http://name:password@host:port'],
    [403, 'proxy', 'allow CONNECT'],
    [502, 'connection', 'what the proxy itself may reach'],
  ])('that answers %i is a failure of the %s', async (status, name, remedy) => {
    const { port, asked } = await aProxy(status)
    const found = await look('https://cp.test', { HTTPS_PROXY: `http://127.0.0.1:${port}` })
    expect(found.get(name)).toMatchObject({ outcome: 'fail', remedy: expect.stringContaining(remedy) })
    expect(found.get(name)?.seen).toContain(String(status))
    expect(found.get('TLS')?.outcome).toBe('skipped')
    expect(asked).toEqual(['cp.test:443'])
  })

  test('that cannot be resolved is a failure of DNS, and its setting is named', async () => {
    const found = await look('https://cp.test', { HTTPS_PROXY: 'http://no-such-proxy.invalid:3128' })
    expect(found.get('DNS')).toMatchObject({
      outcome: 'fail',
      seen: expect.stringContaining('no-such-proxy.invalid'),
      remedy: expect.stringContaining('HTTPS_PROXY'),
    })
  })

  test.each([
    ['http://127.0.0.1', '', 'CONTROL_PLANE_URL is http://'],
    ['https://127.0.0.1', '127.0.0.1', 'NO_PROXY names the control plane'],
  ])('is not needed for %s with NO_PROXY "%s"', async (origin, direct, why) => {
    const { key, cert } = makeCertificate(directory, 'IP:127.0.0.1')
    const plane = await aPlane(origin.startsWith('https:') ? { key, cert } : undefined)
    const found = await look(`${origin}:${plane.port}`, {
      HTTPS_PROXY: 'http://127.0.0.1:1',
      NO_PROXY: direct,
    })
    expect(found.get('proxy')).toMatchObject({ outcome: 'ok', seen: `127.0.0.1:1, not used: ${why}` })
    expect(found.get('connection')?.outcome).toBe('ok')
  })

  test('that works is the way of every check, the websocket too', async () => {
    const { key, cert, file } = makeCertificate(directory, 'DNS:cp.test')
    const plane = await aPlane({ key, cert })
    const { port, asked } = await aProxy(200, plane.port)
    const env = settings('https://cp.test', {
      HTTPS_PROXY: `http://someone:hunter2@127.0.0.1:${port}`,
      NODE_EXTRA_CA_CERTS: file,
    })
    const runner = new RunnerProcess(env, ['doctor'])
    await runner.ended()
    const text = runner.log.map(({ msg }) => msg).join('\n')
    for (const name of STRETCHES) expect(text).toContain(`ok    ${name}: `)
    expect(text).toMatch(/TLS: certificate issued by certyn-test, valid until \w+ \d/)
    expect(text).not.toMatch(/someone|hunter2/)
    expect(asked).toEqual(['cp.test:443', 'cp.test:443'])
  })
})

describe('TLS', () => {
  test('that is self-signed fails, and the remedy names NODE_EXTRA_CA_CERTS', async () => {
    const plane = await aPlane(makeCertificate(directory, 'IP:127.0.0.1'))
    const found = await look(`https://127.0.0.1:${plane.port}`)
    expect(found.get('TLS')).toMatchObject({
      outcome: 'fail',
      seen: expect.stringContaining('self-signed'),
      remedy: expect.stringContaining('set NODE_EXTRA_CA_CERTS to the PEM file'),
    })
    expect(found.get('control plane')?.seen).toBe('skipped (needs: TLS)')
  })

  test.each([
    ['DNS:localhost', -1, /the certificate has expired/, /this host's clock is wrong: it says \d{4}-/],
    ['DNS:elsewhere.test', 1, /for another host: .*elsewhere\.test/, /a name that the certificate has/],
  ])('of a trusted certificate for %s of %i days fails', async (name, days, seen, remedy) => {
    const { key, cert, file } = makeCertificate(directory, name, days)
    const plane = await aPlane({ key, cert })
    const env = settings(`https://localhost:${plane.port}`, { NODE_EXTRA_CA_CERTS: file })
    const runner = new RunnerProcess(env, ['doctor', '--json'])
    expect(await runner.ended()).toBe(1)
    const { checks } = JSON.parse(runner.log.map(({ msg }) => msg).join(''))
    const found = checks.find((check: { name: string }) => check.name === 'TLS')
    expect(found).toMatchObject({ outcome: 'fail' })
    expect(found.seen).toMatch(seen)
    expect(found.remedy).toMatch(remedy)
  })

  test('asked of a server that speaks plain HTTP fails', async () => {
    const { url } = await aServer(healthy)
    const found = await look(url.replace('http:', 'https:'))
    expect(found.get('TLS')).toMatchObject({
      outcome: 'fail',
      seen: expect.stringContaining('plain HTTP is spoken'),
      remedy: expect.stringContaining('RUNNER_ALLOW_HTTP'),
    })
  })

  test('that is cut in its handshake fails, and firewalls are named', async () => {
    const port = await listening(
      createTcpServer(socket => socket.once('data', () => socket.resetAndDestroy())),
    )
    const found = await look(`https://127.0.0.1:${port}`)
    expect(found.get('TLS')).toMatchObject({ outcome: 'fail', remedy: expect.stringContaining('firewall') })
  })
})

describe('what answers in the control plane’s place', () => {
  test.each<[string, RequestListener, RegExp]>([
    ['a login page', (_, response) => response.end('<html>Please   sign in'), /answered 200.*Please sign in/],
    [
      'a redirect',
      (_, response) => response.writeHead(302, { location: 'https://sso.test/' }).end(),
      /302.*sso\.test.*never followed/,
    ],
    ['an error', (_, response) => response.writeHead(502).end(), /answered 502/],
    ['nothing', (_, response) => response.destroy(), /gives no answer/],
  ])('%s is not taken for it', async (_name, answer, seen) => {
    const { url } = await aServer(answer)
    const found = await look(url)
    expect(outcomes(found, ['control plane', 'clock', 'websocket'])).toBe(
      'control plane fail, clock skipped, websocket skipped',
    )
    expect(found.get('control plane')?.seen).toMatch(seen)
    expect(found.get('control plane')?.remedy).toBeTruthy()
  })
})

describe('the clock', () => {
  const MINUTES_5_MS = 300_000

  test.each([
    ['behind', MINUTES_5_MS],
    ['ahead of', -MINUTES_5_MS],
  ])('%s the control plane’s by minutes fails', async (side, offsetMs) => {
    const { url } = await aServer((request, response) => {
      response.setHeader('date', new Date(Date.now() + offsetMs).toUTCString())
      healthy(request, response)
    })
    const found = await look(url)
    expect(found.get('clock')).toMatchObject({ outcome: 'fail', remedy: expect.stringContaining('NTP') })
    expect(found.get('clock')?.seen).toMatch(
      new RegExp(`^this host is (?:29\\d|30\\d) s ${side} the control plane`),
    )
  })

  test('that cannot be compared is a warning', async () => {
    const { url } = await aServer((request, response) => {
      response.sendDate = false
      healthy(request, response)
    })
    expect((await look(url)).get('clock')?.outcome).toBe('warn')
  })
})

describe('a websocket', () => {
  test('whose upgrade is taken away in between fails, and the headers are named', async () => {
    const { url } = await aServer(healthy)
    expect((await look(url)).get('websocket')).toMatchObject({
      outcome: 'fail',
      seen: expect.stringContaining('takes it away'),
      remedy: expect.stringContaining('Upgrade and Connection'),
    })
  })

  test('whose upgrade is refused fails with the status', async () => {
    const { server, url } = await aServer(healthy)
    server.on('upgrade', (_request, socket) =>
      socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n'),
    )
    const found = (await look(url)).get('websocket')
    expect(found).toMatchObject({ outcome: 'fail', seen: 'the upgrade is refused with 403' })
  })

  test('whose connection is cut fails', async () => {
    const { server, url } = await aServer(healthy)
    server.on('upgrade', (_request, socket) => socket.destroy())
    const found = (await look(url)).get('websocket')
    expect(found).toMatchObject({ outcome: 'fail', seen: expect.stringMatching(/^does not open: /) })
  })
})
