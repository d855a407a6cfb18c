import { afterEach, expect, test, vi } from 'vitest'
import { Screencast } from '../../agent/live/screencast.ts'

const TARGET = { sessionId: 'page', targetInfo: { targetId: 'target', type: 'page' } }

afterEach(() => {
  vi.useRealTimers()
})

/** A watched page, and what comes of the pictures that Chromium sends of it. */
function watchedPage() {
  const shown: number[] = []
  const acknowledged: unknown[] = []
  const asked: string[] = []
  const blanks: (string | null)[] = []
  const screencast = new Screencast({
    cdp: {
      send: async (method, params) => {
        if (method === 'Page.screencastFrameAck') acknowledged.push(params)
        else asked.push(method)
      },
    },
    wallMs: () => 0,
    onBlank: cause => blanks.push(cause),
    onPicture: picture => {
      shown.push(picture.capturedAtMs)
      picture.ack()
    },
  })
  screencast.handle({ method: 'Target.attachedToTarget', params: TARGET, sessionId: null })
  screencast.watch(true)
  const picture = (timestamp: number) => {
    const metadata = { deviceWidth: 1280, deviceHeight: 720, timestamp }
    const params = { data: '', metadata, sessionId: 1 }
    screencast.handle({ method: 'Page.screencastFrame', params, sessionId: 'page' })
  }
  return { screencast, picture, shown, acknowledged, asked, blanks }
}

test('a picture that a newer one has overtaken is not shown, and still acknowledged', () => {
  const { picture, shown, acknowledged } = watchedPage()
  for (const seconds of [10, 10.1, 10.05, 10.2]) picture(seconds)
  expect(shown).toEqual([10_000, 10_100, 10_200])
  expect(acknowledged).toHaveLength(4)
})

test('a clock that was set back, and a cast that begins anew, hold nothing up', () => {
  const { screencast, picture, shown } = watchedPage()
  for (const seconds of [10, 5, 5.1]) picture(seconds)
  screencast.refresh()
  picture(5.05)
  expect(shown).toEqual([10_000, 5_000, 5_100, 5_050])
})

test('a cast that gives no picture is begun anew, again and again, while anybody watches', () => {
  vi.useFakeTimers()
  const { screencast, picture, asked } = watchedPage()
  expect(asked).toEqual(['Page.startScreencast'])
  vi.advanceTimersByTime(4_000)
  vi.advanceTimersByTime(4_000)
  const anew = ['Page.stopScreencast', 'Page.startScreencast']
  expect(asked).toEqual(['Page.startScreencast', ...anew, ...anew])
  vi.advanceTimersByTime(3_999)
  picture(1)
  vi.advanceTimersByTime(3_999)
  expect(asked).toHaveLength(5)
  screencast.watch(false)
  vi.advanceTimersByTime(60_000)
  expect(asked).toHaveLength(6)
})

test('a page that has crashed shows nothing, not even what was on its way, until it is loaded again', () => {
  const { screencast, picture, shown, blanks } = watchedPage()
  const page = (method: string) => screencast.handle({ method, params: {}, sessionId: 'page' })
  picture(1)
  page('Inspector.targetCrashed')
  picture(2)
  expect(blanks).toEqual(['page_crashed'])
  page('Inspector.targetReloadedAfterCrash')
  picture(3)
  expect(blanks).toEqual(['page_crashed', null])
  expect(shown).toEqual([1_000, 3_000])
})

test('a page that has crashed is no matter while another one is looked at; that none is open is one', () => {
  const { screencast, blanks } = watchedPage()
  const other = { sessionId: 'other', targetInfo: { targetId: 'other-target', type: 'page' } }
  const of = (sessionId: string | null, method: string, params: object = {}) =>
    screencast.handle({ method, params, sessionId })
  of(null, 'Target.attachedToTarget', other)
  of('page', 'Page.screencastVisibilityChanged', { visible: false })
  of('page', 'Inspector.targetCrashed')
  expect(blanks).toEqual([])
  of(null, 'Target.detachedFromTarget', { sessionId: 'other' })
  of(null, 'Target.detachedFromTarget', { sessionId: 'page' })
  of(null, 'Target.attachedToTarget', other)
  expect(blanks).toEqual(['page_crashed', 'no_page', null])
})

test('a browser that begins without a page has nothing to show', async () => {
  const blanks: (string | null)[] = []
  const parts = {
    wallMs: () => 0,
    onPicture: () => undefined,
    onBlank: (cause: string | null) => blanks.push(cause),
  }
  await new Screencast({ ...parts, cdp: { send: async () => ({}) } }).begin()
  expect(blanks).toEqual(['no_page'])
})
