import type { InputEvent as StreamInput } from '../../protocol/stream.ts'
import { Keyboard } from './keyboard.ts'
import { modifiersOf } from './keys.ts'
import { type Act, type Finger, NO_TOUCH, type Point, touched } from './touch.ts'

/** Hand and keyboard over the canvas become input of the watched page. */

const BUTTONS = ['left', 'middle', 'right'] as const
/** A mouse reports far more often than a page is drawn. */
const MOVE_PACE_MS = 16

export interface Size {
  readonly width: number
  readonly height: number
}

interface Controlled {
  readonly canvas: HTMLCanvasElement
  /** Of the watched page, in CSS pixels. */
  readonly size: () => Size
  readonly send: (event: StreamInput) => void
  readonly keyboard: Keyboard
  readonly on: <K extends keyof HTMLElementEventMap>(
    type: K,
    listen: (event: HTMLElementEventMap[K]) => void,
  ) => void
}

/** @param size of the watched page in CSS pixels @returns a function that gives the canvas back */
export function takeControl(
  canvas: HTMLCanvasElement,
  size: () => Size,
  send: (event: StreamInput) => void,
): () => void {
  const stop = new AbortController()
  const { signal } = stop
  const on: Controlled['on'] = (type, listen) =>
    canvas.addEventListener(type, listen, { signal, passive: false })
  const controlled = { canvas, size, send, on, keyboard: new Keyboard(canvas, send, signal) }
  canvas.dataset.mode = 'control'
  listenToMouse(controlled)
  listenToFingers(controlled)
  on('contextmenu', event => event.preventDefault())
  // The focus is the keyboard's.
  on('mousedown', event => event.preventDefault())
  on('wheel', event => {
    event.preventDefault()
    scroll(controlled, event, { x: event.deltaX, y: event.deltaY }, modifiersOf(event))
  })
  return () => {
    stop.abort()
    delete canvas.dataset.mode
  }
}

function listenToMouse({ canvas, size, send, on, keyboard }: Controlled): void {
  const clicks = new ClickCounter()
  let movedAt = 0
  const mouse = (event: PointerEvent, action: 'move' | 'down' | 'up', count: number) =>
    send({
      kind: 'mouse',
      action,
      ...pointOf(canvas, event, size()),
      button: action === 'move' ? 'none' : (BUTTONS[event.button] ?? 'none'),
      buttons: event.buttons & 31,
      click_count: Math.min(3, count),
      modifiers: modifiersOf(event),
    })
  on('pointermove', event => {
    if (isFinger(event) || event.timeStamp - movedAt < MOVE_PACE_MS) return
    movedAt = event.timeStamp
    mouse(event, 'move', 0)
  })
  on('pointerdown', event => {
    if (isFinger(event)) return
    event.preventDefault()
    keyboard.take(event)
    canvas.setPointerCapture(event.pointerId)
    mouse(event, 'down', clicks.down(event))
  })
  on('pointerup', event => {
    if (!isFinger(event)) mouse(event, 'up', clicks.current)
  })
}

function listenToFingers(controlled: Controlled): void {
  const { canvas, size, send, on, keyboard } = controlled
  const clicks = new ClickCounter()
  let touch = NO_TOUCH
  const perform = (act: Act, event: PointerEvent) => {
    if (act.is === 'pan') return pan(controlled, act.by, act.at)
    const seen = { clientX: act.x, clientY: act.y }
    const isHeld = act.is !== 'release'
    if (act.is === 'press') clicks.down({ ...seen, timeStamp: event.timeStamp, button: 0 })
    send({
      kind: 'mouse',
      action: ({ press: 'down', drag: 'move', release: 'up' } as const)[act.is],
      ...pointOf(canvas, seen, size()),
      button: act.is === 'drag' ? 'none' : 'left',
      buttons: isHeld ? 1 : 0,
      click_count: act.is === 'drag' ? 0 : Math.min(3, clicks.current),
      modifiers: modifiersOf(event),
    })
    // A phone opens its keyboard only where a finger is lifted.
    if (act.is === 'release') keyboard.take(seen)
  }
  const hear = (is: Finger['is']) => (event: PointerEvent) => {
    if (!isFinger(event)) return
    event.preventDefault()
    const next = touched(touch, { is, id: event.pointerId, x: event.clientX, y: event.clientY })
    touch = next.touch
    for (const act of next.acts) perform(act, event)
  }
  on('pointerdown', hear('down'))
  on('pointermove', hear('moved'))
  on('pointerup', hear('up'))
  on('pointercancel', hear('lost'))
}

function isFinger({ pointerType }: PointerEvent): boolean {
  return pointerType === 'touch'
}

/** Moves the picture in what is around it; what is left of the way, or all of it, scrolls the watched page. */
function pan(controlled: Controlled, by: Point, at: Point): void {
  const around = controlled.canvas.parentElement
  const { scrollLeft = 0, scrollTop = 0 } = around ?? {}
  around?.scrollBy(-by.x, -by.y)
  const left = {
    x: -by.x - ((around?.scrollLeft ?? 0) - scrollLeft),
    y: -by.y - ((around?.scrollTop ?? 0) - scrollTop),
  }
  // Scrolling goes by whole device pixels: what is less is nothing.
  if (Math.abs(left.x) >= 1 || Math.abs(left.y) >= 1)
    scroll(controlled, { clientX: at.x, clientY: at.y }, left, 0)
}

function scroll({ canvas, size, send }: Controlled, at: Seen, by: Point, modifiers: number): void {
  const [delta_x, delta_y] = [within(by.x, 10_000), within(by.y, 10_000)]
  send({ kind: 'wheel', ...pointOf(canvas, at, size()), delta_x, delta_y, modifiers })
}

interface Seen {
  readonly clientX: number
  readonly clientY: number
}

/** A pointer does not say whether its press is the second of a double click. */
class ClickCounter {
  current = 1
  #last = { at: Number.NEGATIVE_INFINITY, x: 0, y: 0, button: -1 }

  down({ timeStamp, clientX, clientY, button }: Seen & { timeStamp: number; button: number }): number {
    const { at, x, y, button: before } = this.#last
    const isAgain = timeStamp - at < 400 && Math.hypot(clientX - x, clientY - y) < 6 && button === before
    this.current = isAgain ? this.current + 1 : 1
    this.#last = { at: timeStamp, x: clientX, y: clientY, button }
    return this.current
  }
}

/** Where on the watched page, whatever size it is shown in. */
function pointOf(canvas: HTMLCanvasElement, { clientX, clientY }: Seen, size: Size): Point {
  const box = canvas.getBoundingClientRect()
  const x = ((clientX - box.left) / box.width) * size.width
  const y = ((clientY - box.top) / box.height) * size.height
  return { x: Math.round(within(x, 16_384)), y: Math.round(within(y, 16_384)) }
}

function within(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, Number.isFinite(value) ? value : 0))
}
