import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Browser } from '../../agent/browser/browser.ts'
import type { CdpConnection } from '../../agent/browser/cdp.ts'
import { until } from '../support/until.ts'

/** Connections that the second browser refuses; there are two to an attempt. */
const REFUSED = 8

/** A program that is started and listens as Chromium does, has no page, and turns the first connections away. */
const PROGRAM = `#!${process.execPath}
  const { existsSync, writeFileSync } = require('node:fs')
  const { WebSocketServer } = require(${JSON.stringify(createRequire(import.meta.url).resolve('ws'))})
  const mark = process.env.HOME + '/was-started'
  let refused = existsSync(mark) ? 0 : ${REFUSED}
  writeFileSync(mark, '')
  const port = Number(process.argv.find(flag => flag.startsWith('--remote-debugging-port=')).split('=')[1])
  const server = require('node:http').createServer()
  const sockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, line, head) => {
    if (refused++ < ${REFUSED}) return line.destroy()
    sockets.handleUpgrade(request, line, head, socket => socket.on('message', text => {
      const { id, method } = JSON.parse(String(text))
      if (method === 'Browser.close') process.exit(0)
      socket.send(JSON.stringify({ id, result: { targetInfos: [] } }))
    }))
  })
  server.listen(port, '127.0.0.1', () =>
    process.stderr.write('DevTools listening on ws://127.0.0.1:' + server.address().port + '/devtools/browser/x\\n'))
`

let home: string
let browser: Browser
let connected: CdpConnection[]
let said: string[]

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'certyn-browser-test-'))
  const program = join(home, 'chromium.cjs')
  writeFileSync(program, PROGRAM, { mode: 0o755 })
  connected = []
  said = []
  browser = new Browser({
    program,
    home,
    say: line => said.push(line),
    onConnected: async cdp => void connected.push(cdp),
  })
})
afterEach(async () => {
  await browser.stop()
  rmSync(home, { recursive: true, force: true })
})

test('a browser that was started again is followed though it takes no connection at first, and that is said', async () => {
  await browser.start()
  connected[0]?.send('Browser.close').catch(() => undefined)
  await until('the second one is followed', () => connected.length === 2)
  expect(said).toEqual([
    'Chromium was closed; starting it again, without its pages',
    expect.stringMatching(
      /^no live view of the browser that was started again: .*; trying again until there is$/,
    ),
  ])
})
