import { describe, expect, test } from 'vitest'
import { EXIT } from '../../agent/exit-code.ts'
import { visit } from '../../agent/job/visit.ts'

/** Chromium's answers up to a call that it never answers. */
function silentFrom(silent: string) {
  const asked: string[] = []
  const answers: Record<string, object> = {
    'Target.createTarget': { targetId: 'target' },
    'Target.attachToTarget': { sessionId: 'session' },
  }
  const send = async (method: string) => {
    asked.push(method)
    if (method === silent) await new Promise(() => undefined)
    return answers[method] ?? {}
  }
  const closed = Promise.withResolvers<void>()
  return {
    asked,
    end: () => closed.resolve(),
    cdp: { send, listen: () => () => undefined, closed: closed.promise },
  }
}

// A server that takes the connection and never answers keeps Chromium from answering the call to navigate.
describe.each(['Target.createTarget', 'Page.enable', 'Page.navigate'])(
  'a visit whose %s is not answered',
  silent => {
    test('ends when its time is over, and says so', async () => {
      const { asked, cdp } = silentFrom(silent)
      const said: string[] = []
      const say = (line: string) => void said.push(line)
      const url = 'http://silent.test/'
      expect(await visit({ cdp, url, artifactsDir: null, say, limitMs: 50 })).toBe(EXIT.pageFailed)
      expect(said).toEqual([`${url} could not be visited: it did not finish loading within 0.05 s`])
      expect(asked.at(-1)).toBe(silent)
    })

    test('ends with the browser', async () => {
      const { cdp, end } = silentFrom(silent)
      const said: string[] = []
      const say = (line: string) => void said.push(line)
      const ended = visit({ cdp, url: 'http://silent.test/', artifactsDir: null, say })
      end()
      expect(await ended).toBe(EXIT.pageFailed)
      expect(said).toEqual(['http://silent.test/ could not be visited: the browser ended'])
    })
  },
)
