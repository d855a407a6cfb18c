import { describe, expect, test } from 'vitest'
import { activeOf, closed, opened, type Pages, seen } from '../../agent/live/pages.ts'

/** Steps as Chromium reports them: a letter opens a page, `+` and `-` say whether it is seen, `x` closes it. */
function pagesAfter(...steps: readonly string[]): Pages {
  return steps.reduce<Pages>((pages, step) => {
    const [name = '', what] = [...step]
    if (what === undefined) return opened(pages, `target-${name}`, name)
    return what === 'x' ? closed(pages, name) : seen(pages, name, what === '+')
  }, [])
}

describe('the active page', () => {
  test.each<[string, readonly string[], string | null]>([
    ['is none before any page is there', [], null],
    ['is the only page', ['a'], 'a'],
    ['is the newest of those that are seen', ['a', 'a+', 'b', 'b+'], 'b'],
    ['stays while a new one has not been said to be seen', ['a', 'a+', 'b'], 'a'],
    ['stays when a new one opens in the background', ['a', 'a+', 'b', 'b-'], 'a'],
    ['is the new one at once when the old one is covered by it', ['a', 'a+', 'b', 'a-'], 'b'],
    ['is an older one that is brought to the front again', ['a', 'a+', 'b', 'b+', 'a-', 'a+'], 'a'],
    [
      'is the one switched to, in either order of the two reports',
      ['a', 'a+', 'b', 'a-', 'b+', 'b-', 'a+'],
      'a',
    ],
    ['falls back to the one before when it closes', ['a', 'a+', 'b', 'b+', 'c', 'c+', 'cx'], 'b'],
    [
      'falls back to one that is seen rather than a newer one that is not',
      ['a', 'a+', 'b', 'b-', 'c', 'c+', 'cx'],
      'a',
    ],
    ['is a page that is not seen when there is no other', ['a', 'a+', 'a-'], 'a'],
    ['is not changed by what is known being said again', ['a', 'a+', 'b', 'b+', 'a+'], 'b'],
    ['is none after the last one closed', ['a', 'a+', 'ax'], null],
  ])('%s', (_, steps, expected) => {
    expect(activeOf(pagesAfter(...steps))?.sessionId ?? null).toBe(expected)
  })

  test('is one entry per target, however often it is attached', () => {
    const pages = opened(opened([], 'target', 'first'), 'target', 'second')
    expect(pages.map(page => page.sessionId)).toEqual(['second'])
  })

  test('what is said of an unknown page changes nothing', () => {
    const pages = pagesAfter('a', 'a+')
    expect(seen(pages, 'z', true)).toBe(pages)
    expect(closed(pages, 'z')).toEqual(pages)
  })
})
