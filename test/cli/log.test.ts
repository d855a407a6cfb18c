import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { ControlPlane } from '../../cli/api/control-plane.ts'
import { followLog, type LogEvent } from '../../cli/runs/follow-log.ts'
import { PlainLog } from '../../cli/runs/plain-log.ts'
import { readSettings } from '../../cli/settings.ts'
import { mintSecret } from '../../protocol/secrets.ts'
import { LogLines } from '../../runner/collect/log-lines.ts'
import { TestClock } from './support.ts'

describe('a log without its times', () => {
  const at = '2026-01-01T00:00:00.000000001Z'
  const lines = new LogLines()
  const frame = (stream: 'stdout' | 'stderr', text: string) => ({ stream, at, bytes: Buffer.from(text) })
  const log = Buffer.from(
    lines.push([
      frame('stdout', 'one\n\ntwo é€😀\n'),
      frame('stderr', `${at} stdout three\n`),
      frame('stdout', 'x'.repeat(100)),
      frame('stdout', ' end\n'),
      frame('stdout', 'no newline'),
    ]),
  )
  const plain = `one\n\ntwo é€😀\n${at} stdout three\n${'x'.repeat(100)} end\nno newline`

  test.each([1, 2, 7, 38, 39, 1000])('is what was written, however it is cut: by %i bytes', bytes => {
    const whole = new PlainLog()
    let text = ''
    for (let from = 0; from < log.length; from += bytes) {
      text += whole.push(log.subarray(from, from + bytes).toString('latin1'))
    }
    expect(Buffer.from(text + whole.end(), 'latin1').toString()).toBe(plain)
  })

  test('holds nothing back that cannot be a time', () => {
    const whole = new PlainLog()
    expect([
      whole.push('Password: '),
      whole.push('2026-01-01T00:'),
      whole.push('\n20'),
      whole.push('x'),
    ]).toEqual(['Password: ', '2026-01-01T00:', '\n', '20x'])
  })

  test('passes on what has no times', () => {
    const whole = new PlainLog()
    expect(whole.push('hello\nwor') + whole.push('ld\n') + whole.push('2026-01-01') + whole.end()).toBe(
      'hello\nworld\n2026-01-01',
    )
  })
})

describe('a log that is followed', () => {
  const closers: (() => void)[] = []
  afterEach(() => {
    for (const close of closers.splice(0)) close()
  })

  type Turn = (answer: ServerResponse) => void
  const SESSION = 'ses_01kb4yq3v8e9c9v3m2d0f4k6ha'
  const event = (type: string, offset: number, data: object) =>
    `event: ${type}\nid: ${SESSION}.${offset}\ndata: ${JSON.stringify(data)}\n\n`
  const log = (from: number, text: string) => event('log', from + text.length, { offset: from, text })
  const END = event('end', 6, { status: 'succeeded' })
  const sends =
    (...pieces: readonly (string | Buffer)[]): Turn =>
    answer => {
      answer.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const piece of pieces) answer.write(piece)
      // What was written arrives before the line breaks.
      answer.socket?.end()
    }
  const sendsAll =
    (...pieces: readonly string[]): Turn =>
    answer =>
      void answer.writeHead(200).end(pieces.join(''))

  /** Follows a server that answers one turn a connection. */
  async function follow(turns: readonly Turn[]) {
    const asked: (string | undefined)[] = []
    const server = createServer((incoming: IncomingMessage, answer) => {
      asked.push(`${incoming.headers['last-event-id'] ?? '-'}`)
      turns[Math.min(asked.length, turns.length) - 1]?.(answer)
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const api = new ControlPlane(readSettings({ CERTYN_URL: url, CERTYN_API_KEY: mintSecret('apiKey') }, {}))
    closers.push(() => {
      void api.close()
      server.closeAllConnections()
      server.close()
    })
    const stop = new AbortController()
    const clock = new TestClock()
    const events: LogEvent[] = []
    const open = async (id: string | null) =>
      (
        await api.open('/runs/x/logs', {
          headers: id === null ? {} : { 'last-event-id': id },
          signal: stop.signal,
        })
      ).body
    const done = (async () => {
      for await (const one of followLog({ open, stop: stop.signal, clock })) events.push(one)
    })()
    const text = () => events.map(one => (one.type === 'log' ? one.text : '')).join('')
    return { done, events, asked, stop, clock, text }
  }

  test('goes on behind the last whole event, in the middle of which the line broke', async () => {
    const [first, second] = [log(0, 'a\n'), Buffer.from(log(2, '😀\n'))]
    const { done, events, asked, text } = await follow([
      sends(event('session', 0, { session_id: SESSION, attempt: 1 }), first, second.subarray(0, -8)),
      sends(': still here\n\n'),
      sends(second, log(6, 'b\n').slice(0, -1)),
      sendsAll(log(6, 'b\n'), END),
    ])
    await done
    expect(text()).toBe('a\n😀\nb\n')
    expect(events.map(({ type }) => type)).toEqual(['session', 'log', 'log', 'log', 'end'])
    expect(asked).toEqual(['-', `${SESSION}.2`, `${SESSION}.2`, `${SESSION}.5`])
  })

  test('takes a character that comes in two pieces as one', async () => {
    const bytes = Buffer.from(log(0, '😀\n'))
    const middle = bytes.indexOf(0xf0) + 2
    const { done, text } = await follow([
      answer => {
        answer.writeHead(200).write(bytes.subarray(0, middle))
        setTimeout(() => answer.end(Buffer.concat([bytes.subarray(middle), Buffer.from(END)])), 50)
      },
    ])
    await done
    expect(text()).toBe('😀\n')
  })

  test('goes on after an answer that ends before the log does', async () => {
    const { done, text, asked } = await follow([sendsAll(log(0, 'a\n')), sendsAll(log(2, 'b\n'), END)])
    await done
    expect([text(), asked]).toEqual(['a\nb\n', ['-', `${SESSION}.2`]])
  })

  test('passes over events that this release does not know', async () => {
    const { done, events } = await follow([sendsAll(event('weather', 1, { sun: true }), END)])
    await done
    expect(events).toEqual([{ type: 'end', status: 'succeeded' }])
  })

  test('says when an event is not as expected', async () => {
    const { done } = await follow([sendsAll(event('log', 1, { text: 7 }))])
    await expect(done).rejects.toThrow('an event of the log is not as expected')
  })

  test('ends when the key opens nothing any more', async () => {
    const problem = {
      type: '',
      title: '',
      status: 401,
      code: 'unauthenticated',
      detail: 'gone',
      request_id: 'r',
    }
    const { done, asked } = await follow([
      sends(log(0, 'a\n')),
      answer => void answer.writeHead(401).end(JSON.stringify(problem)),
    ])
    await expect(done).rejects.toThrow('gone')
    expect(asked).toHaveLength(2)
  })

  test('ends when it is stopped', async () => {
    const { done, events, stop } = await follow([answer => void answer.writeHead(200).write(log(0, 'a\n'))])
    await expect.poll(() => events.length).toBe(1)
    stop.abort()
    await done
  })
})
