import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { CdpEvent } from '../../agent/browser/cdp.ts'
import { LiveView } from '../../agent/live/live-view.ts'
import type { InputEvent } from '../../protocol/stream.ts'
import { until } from '../support/until.ts'

/** The joint of the stream socket, which is a real one, and of a browser that answers no input. */

const MOVE: InputEvent = {
  kind: 'mouse',
  action: 'move',
  x: 1,
  y: 2,
  button: 'none',
  buttons: 0,
  click_count: 0,
  modifiers: 0,
}

const WATCHED = { type: 'demand', viewers: 1, max_fps: 30, refresh: false }

let folder: string
let live: LiveView
let tell: (method: string, params?: object, sessionId?: string) => void
let inputs: (string | undefined)[]
let closed: PromiseWithResolvers<void>

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'certyn-live-view-'))
  live = new LiveView(() => undefined)
  await live.listen(join(folder, 'stream.sock'))
  inputs = []
  closed = Promise.withResolvers()
  await live.follow({
    closed: closed.promise,
    send: async (method, _params, sessionId) => {
      if (!method.startsWith('Input.')) return {}
      inputs.push(sessionId)
      return await new Promise(() => undefined)
    },
    listen: (listener: (event: CdpEvent) => void) => {
      tell = (method, params = {}, sessionId) => listener({ method, params, sessionId: sessionId ?? null })
      return () => undefined
    },
  })
})
afterEach(() => {
  live.close()
  rmSync(folder, { recursive: true, force: true })
})

function opens(page: string): void {
  const targetInfo = { targetId: `target-${page}`, type: 'page' }
  tell('Target.attachedToTarget', { sessionId: page, targetInfo })
  tell('Page.screencastVisibilityChanged', { visible: true }, page)
}

interface Runner {
  readonly causes: string[]
  say(message: object): void
  readonly closed: Promise<unknown>
}

async function runner(): Promise<Runner> {
  const causes: string[] = []
  const socket = new WebSocket(`ws+unix:${join(folder, 'stream.sock')}:/`)
  let isGreeted = false
  socket.on('message', data => {
    const message = JSON.parse(String(data))
    isGreeted ||= message.type === 'hello'
    if (message.type === 'blank') causes.push(message.cause)
  })
  const closed = once(socket, 'close')
  await until('it is greeted', () => isGreeted)
  return { causes, closed, say: message => socket.send(JSON.stringify(message)) }
}

test('why there is nothing to show is said when it comes to be, and to a runner that comes later', async () => {
  const first = await runner()
  await until('that no page is open', () => first.causes.length === 1)
  opens('page')
  tell('Inspector.targetCrashed', {}, 'page')
  await until('that it has crashed', () => first.causes.length === 2)
  const second = await runner()
  await until('that it has crashed', () => second.causes.length === 1)
  tell('Inspector.targetReloadedAfterCrash', {}, 'page')
  closed.resolve()
  await until('that the browser has ended', () => second.causes.length === 2)
  expect([...first.causes, ...second.causes]).toEqual([
    'no_page',
    'page_crashed',
    'page_crashed',
    'no_browser',
  ])
})

test('a page that answers no input gets no more of it after a while, which costs another page nothing', async () => {
  opens('hanging')
  const { say, closed: closedLine } = await runner()
  say(WATCHED)
  for (let time = 0; time < 200; time++) say({ type: 'input', event: MOVE })
  // Not a message of this protocol, so the line is closed when everything before was heard.
  say({})
  await closedLine
  expect(inputs).toEqual(Array.from({ length: 64 }, () => 'hanging'))
  opens('other')
  const next = await runner()
  next.say(WATCHED)
  next.say({ type: 'input', event: MOVE })
  await until('the other page is acted on', () => inputs.length === 65)
  expect(inputs.at(-1)).toBe('other')
})
