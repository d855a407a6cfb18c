/**
 * What fingers mean. One that is lifted where it was put down clicks, one that moves drags; two move the picture, and
 * nothing of that reaches the watched page. So a finger is told of only when it can no longer be one of two.
 */

export interface Point {
  readonly x: number
  readonly y: number
}

export interface Finger extends Point {
  readonly is: 'down' | 'moved' | 'up' | 'lost'
  readonly id: number
}

export type Touch =
  | { readonly kind: 'none' }
  | { readonly kind: 'waiting' | 'dragging'; readonly id: number; readonly at: Point }
  | { readonly kind: 'panning'; readonly fingers: ReadonlyMap<number, Point> }

export type Act =
  | ({ readonly is: 'press' | 'drag' | 'release' } & Point)
  | { readonly is: 'pan'; readonly by: Point; readonly at: Point }

export const NO_TOUCH: Touch = { kind: 'none' }
/** In CSS pixels: a finger is never quite still. */
const SLOP = 8

export function touched(
  touch: Touch,
  finger: Finger,
): { readonly touch: Touch; readonly acts: readonly Act[] } {
  switch (touch.kind) {
    case 'none':
      return finger.is === 'down'
        ? then({ kind: 'waiting', id: finger.id, at: pointOf(finger) })
        : then(touch)
    case 'waiting':
      return whileWaiting(touch, finger)
    case 'dragging':
      return whileDragging(touch, finger)
    case 'panning':
      return whilePanning(touch, finger)
  }
}

type One = Extract<Touch, { kind: 'waiting' | 'dragging' }>

function whileWaiting(touch: One, finger: Finger) {
  if (finger.id !== touch.id) return finger.is === 'down' ? then(panningOf(touch, finger)) : then(touch)
  const { x, y } = finger
  const press: Act = { is: 'press', ...touch.at }
  switch (finger.is) {
    case 'up':
      return then(NO_TOUCH, press, { is: 'release', ...touch.at })
    case 'lost':
      return then(NO_TOUCH)
    default:
      return Math.hypot(x - touch.at.x, y - touch.at.y) < SLOP
        ? then(touch)
        : then({ ...touch, kind: 'dragging', at: { x, y } }, press, { is: 'drag', x, y })
  }
}

function whileDragging(touch: One, finger: Finger) {
  const { x, y } = finger
  if (finger.id !== touch.id)
    return finger.is === 'down' ? then(panningOf(touch, finger), { is: 'release', ...touch.at }) : then(touch)
  if (finger.is === 'moved') return then({ ...touch, at: { x, y } }, { is: 'drag', x, y })
  return finger.is === 'down' ? then(touch) : then(NO_TOUCH, { is: 'release', x, y })
}

function whilePanning(touch: Extract<Touch, { kind: 'panning' }>, finger: Finger) {
  const before = touch.fingers.get(finger.id)
  const fingers = new Map(touch.fingers)
  if (finger.is === 'up' || finger.is === 'lost') {
    fingers.delete(finger.id)
    return then(fingers.size === 0 ? NO_TOUCH : { kind: 'panning', fingers })
  }
  fingers.set(finger.id, pointOf(finger))
  if (finger.is === 'down' || before === undefined) return then({ kind: 'panning', fingers })
  // Each moves the picture by its share, and both together by as much as they do.
  const by = { x: (finger.x - before.x) / fingers.size, y: (finger.y - before.y) / fingers.size }
  return then({ kind: 'panning', fingers }, { is: 'pan', by, at: pointOf(finger) })
}

function panningOf({ id, at }: One, second: Finger): Touch {
  return {
    kind: 'panning',
    fingers: new Map([
      [id, at],
      [second.id, pointOf(second)],
    ]),
  }
}

function pointOf({ x, y }: Point): Point {
  return { x, y }
}

function then(touch: Touch, ...acts: readonly Act[]) {
  return { touch, acts }
}
