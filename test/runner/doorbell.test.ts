import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocketServer } from 'ws'
import { doorbellLoop } from '../../runner/daemon/doorbell-loop.ts'
import type { Membership } from '../../runner/daemon/runner-identity.ts'
import { createLog } from '../../runner/log.ts'
import { until } from './support/runner-process.ts'

test('a doorbell that is lost causes a sync before it is dialled again', async () => {
  const happened: string[] = []
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  server.on('connection', socket => {
    happened.push('connected')
    socket.terminate()
  })
  await new Promise(resolve => server.once('listening', resolve))
  const stop = new AbortController()
  const ringing = doorbellLoop(
    {
      config: {
        CONTROL_PLANE_URL: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
        HTTPS_PROXY: null,
        NO_PROXY: null,
      },
      membership: { identity: { poolId: 'p', runnerId: 'r', credential: 'c' } } as Membership,
      log: createLog('silent'),
      onRing: () => void happened.push('synced'),
    },
    stop.signal,
  )
  await until('another connection', () => happened.filter(one => one === 'connected').length === 2)
  stop.abort()
  await ringing
  server.close()
  expect(happened.slice(0, 3)).toEqual(['connected', 'synced', 'connected'])
})
