import { describe, expect, test } from 'vitest'
import { PageLoad } from '../../agent/job/page-load.ts'

const PAGE = 'frame-page'

/** @returns the status that counted, or null while nothing does */
async function statusAfter(...events: readonly { method: string; params: object }[]): Promise<number | null> {
  const load = new PageLoad(PAGE)
  for (const event of events) load.handle(event)
  return await Promise.race([load.status, Promise.resolve().then(() => null)])
}
function answered(loaderId: string, status: number, type = 'Document') {
  return { method: 'Network.responseReceived', params: { loaderId, type, response: { status } } }
}
function loaded(loaderId: string, frameId = PAGE, name = 'load') {
  return { method: 'Page.lifecycleEvent', params: { frameId, loaderId, name } }
}

describe('a page has loaded', () => {
  test('with the status its document was answered with', async () => {
    expect(await statusAfter(answered('1', 200), loaded('1'))).toBe(200)
    expect(await statusAfter(answered('1', 503), loaded('1'))).toBe(503)
  })

  test('not when the empty page before it had', async () => {
    expect(await statusAfter(loaded('0'), answered('1', 200))).toBe(null)
  })

  test('not when a frame in it has, or only a part of it', async () => {
    expect(await statusAfter(answered('1', 200), answered('2', 404), loaded('2', 'frame-inner'))).toBe(null)
    expect(await statusAfter(answered('1', 200), loaded('1', PAGE, 'DOMContentLoaded'))).toBe(null)
    expect(await statusAfter(answered('1', 200, 'Script'), loaded('1'))).toBe(null)
  })

  test('when it sent the browser on before it was done, with the next one’s status', async () => {
    expect(await statusAfter(answered('1', 200), answered('2', 404), loaded('2'))).toBe(404)
  })
})
