import { describe, expect, test } from 'vitest'
import { type Act, type Finger, NO_TOUCH, touched } from '../../dashboard/live/touch.ts'

const down = (id: number, x: number, y: number): Finger => ({ is: 'down', id, x, y })
const moved = (id: number, x: number, y: number): Finger => ({ is: 'moved', id, x, y })
const up = (id: number, x: number, y: number): Finger => ({ is: 'up', id, x, y })
const lost = (id: number, x: number, y: number): Finger => ({ is: 'lost', id, x, y })

function acts(...fingers: readonly Finger[]): Act[] {
  let touch = NO_TOUCH
  const all: Act[] = []
  for (const finger of fingers) {
    const next = touched(touch, finger)
    touch = next.touch
    all.push(...next.acts)
  }
  return all
}

describe('fingers on the picture', () => {
  test('click where one is put down and lifted, however unsteady it is', () => {
    expect(acts(down(1, 10, 20), moved(1, 13, 22), up(1, 14, 22))).toEqual([
      { is: 'press', x: 10, y: 20 },
      { is: 'release', x: 10, y: 20 },
    ])
  })

  test('drag from where one was put down', () => {
    expect(acts(down(1, 10, 20), moved(1, 30, 20), moved(1, 50, 20), up(1, 60, 20))).toEqual([
      { is: 'press', x: 10, y: 20 },
      { is: 'drag', x: 30, y: 20 },
      { is: 'drag', x: 50, y: 20 },
      { is: 'release', x: 60, y: 20 },
    ])
  })

  test('move the picture where there are two, by as much as both do, and touch nothing of the page', () => {
    const all = acts(
      down(1, 100, 100),
      down(2, 200, 100),
      moved(1, 80, 90),
      moved(2, 180, 90),
      up(2, 180, 90),
      up(1, 80, 90),
    )
    expect(all.map(({ is }) => is)).toEqual(['pan', 'pan'])
    const moves = all.map(act => (act.is === 'pan' ? act.by : { x: 0, y: 0 }))
    expect(moves.reduce((sum, { x, y }) => ({ x: sum.x + x, y: sum.y + y }), { x: 0, y: 0 })).toEqual({
      x: -20,
      y: -10,
    })
  })

  test('let go of what is dragged when a second one comes', () => {
    expect(acts(down(1, 0, 0), moved(1, 20, 0), down(2, 90, 0), moved(2, 80, 0)).map(({ is }) => is)).toEqual(
      ['press', 'drag', 'release', 'pan'],
    )
  })

  test('begin anew when all are lifted', () => {
    const pan = [down(1, 0, 0), down(2, 50, 0), up(1, 0, 0), up(2, 50, 0)]
    expect(acts(...pan, down(3, 5, 5), up(3, 5, 5)).map(({ is }) => is)).toEqual(['press', 'release'])
  })

  test('leave nothing pressed when the browser takes one away', () => {
    expect(acts(down(1, 0, 0), lost(1, 0, 0))).toEqual([])
    expect(acts(down(1, 0, 0), moved(1, 20, 0), lost(1, 25, 0)).at(-1)).toEqual({
      is: 'release',
      x: 25,
      y: 0,
    })
  })
})
