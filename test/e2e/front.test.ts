import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { type Front, listen } from '../../scripts/control-plane/front.ts'

/** The public side of the embedded control plane, before a plain server that tells what reached it. */
describe('the front of the embedded control plane', () => {
  const upstream = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      response.setHeader('set-cookie', ['a=1', 'b=2'])
      response.end(JSON.stringify({ method: request.method, headers: request.headers, body }))
    })
  })
  const sockets = new WebSocketServer({ noServer: true })
  const upstreamUrl = () => new URL(`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`)
  let front: Front
  let upgraded: IncomingMessage | undefined

  beforeAll(async () => {
    upstream.on('upgrade', (request, socket, head) => {
      upgraded = request
      if (request.url === '/refused')
        return void socket.end('HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno')
      sockets.handleUpgrade(request, socket, head, ws => ws.on('message', text => ws.send(`echo ${text}`)))
    })
    await new Promise<void>(resolve => upstream.listen(0, '127.0.0.1', resolve))
    front = await listen('127.0.0.1', 0)
    front.open(upstreamUrl())
  })
  afterAll(async () => {
    await front.close()
    upstream.closeAllConnections()
    upstream.close()
  })

  test('lets requests wait until it is opened', async () => {
    const closed = await listen('127.0.0.1', 0)
    let answered = false
    const early = fetch(closed.url).then(response => {
      answered = true
      return response
    })
    await new Promise(resolve => setTimeout(resolve, 50))
    expect(answered).toBe(false)
    closed.open(upstreamUrl())
    expect((await early).status).toBe(200)
    await closed.close()
  })

  test('passes method, body, host and repeated headers on', async () => {
    const response = await fetch(`${front.url}/x`, {
      method: 'POST',
      body: 'hello',
      headers: { 'x-own': '1' },
    })
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    const seen: unknown = await response.json()
    expect(seen).toMatchObject({
      method: 'POST',
      body: 'hello',
      headers: { 'x-own': '1', 'content-length': '5', host: new URL(front.url).host },
    })
  })

  test('says who the client is, whatever the client claims', async () => {
    const headers = {
      'cf-connecting-ip': '203.0.113.9',
      'mf-cf-blob': '{}',
      'cf-ray': 'x',
      'x-real-ip': '203.0.113.9',
    }
    const seen = JSON.stringify(await (await fetch(front.url, { headers })).json())
    expect(seen).toContain('"cf-connecting-ip":"127.0.0.1"')
    expect(seen).not.toContain('203.0.113.9')
    expect(seen).not.toContain('mf-cf-blob')
  })

  test('passes on what Cloudflare Access says, which is signed', async () => {
    const headers = { 'cf-access-jwt-assertion': 'a.b.c', 'cf-access-authenticated-user-email': 'root@acme' }
    const seen = JSON.stringify(await (await fetch(front.url, { headers })).json())
    expect(seen).toContain('"cf-access-jwt-assertion":"a.b.c"')
    expect(seen).not.toContain('root@acme')
  })

  test('passes websockets through in both directions, with the client named', async () => {
    const socket = new WebSocket(front.url.replace('http', 'ws'), {
      headers: { 'cf-connecting-ip': '203.0.113.9' },
    })
    const echo = new Promise(resolve => socket.on('message', data => resolve(String(data))))
    await new Promise(resolve => socket.on('open', resolve))
    socket.send('hi')
    expect(await echo).toBe('echo hi')
    expect(upgraded?.headers['cf-connecting-ip']).toBe('127.0.0.1')
    socket.close()
  })

  test('passes the refusal of a websocket on', async () => {
    const socket = new WebSocket(`${front.url.replace('http', 'ws')}/refused`)
    const status = new Promise(resolve =>
      socket.on('unexpected-response', (_, response) => resolve(response.statusCode)),
    )
    expect(await status).toBe(409)
  })
})
