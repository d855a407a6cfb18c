import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { z } from 'zod'
import { CdpConnection, CdpError } from '../../agent/browser/cdp.ts'
import { until } from '../support/until.ts'

const Asked = z.object({ id: z.number(), method: z.string(), sessionId: z.string().optional() })

/** A DevTools server that answers nobody: Chromium, as to a page that is too busy to do so. */
let server: WebSocketServer
let cdp: CdpConnection
let tell: (message: object) => void
const asked: z.infer<typeof Asked>[] = []

beforeEach(async () => {
  asked.length = 0
  server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  server.on('connection', socket => {
    tell = message => socket.send(JSON.stringify(message))
    socket.on('message', text => asked.push(Asked.parse(JSON.parse(String(text)))))
  })
  cdp = await CdpConnection.open(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
afterEach(() => {
  cdp.close()
  server.close()
})

test('what a page was asked is given up when its session ends, and only that', async () => {
  const closed = [cdp.send('A', {}, 'closing'), cdp.send('B', {}, 'closing')]
  const open = cdp.send('C', {}, 'open')
  const browser = cdp.send('D')
  const outcomes = Promise.allSettled(closed)
  await until('all is asked', () => asked.length === 4)
  tell({ method: 'Target.detachedFromTarget', params: { sessionId: 'closing' } })
  expect(await outcomes).toEqual(
    ['A', 'B'].map(method => ({
      status: 'rejected',
      reason: new CdpError(`${method}: its page was closed`),
    })),
  )
  for (const { id, method } of asked) tell({ id, result: method })
  expect(await Promise.all([open, browser])).toEqual(['C', 'D'])
})
