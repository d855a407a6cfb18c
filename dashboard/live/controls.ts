import type { InputEvent as StreamInput } from '../../protocol/stream.ts'

/** Hand and keyboard over the canvas become input of the watched page. */

const BUTTONS = ['left', 'middle', 'right'] as const
/** A mouse reports far more often than a page is drawn. */
const MOVE_PACE_MS = 16

export interface Size {
  readonly width: number
  readonly height: number
}

/** @param size of the watched page in CSS pixels @returns a function that gives the canvas back */
export function takeControl(
  canvas: HTMLCanvasElement,
  size: () => Size,
  send: (event: StreamInput) => void,
): () => void {
  const stop = new AbortController()
  const on = <K extends keyof HTMLElementEventMap>(
    type: K,
    listen: (event: HTMLElementEventMap[K]) => void,
    options: AddEventListenerOptions = {},
  ) => canvas.addEventListener(type, listen, { ...options, signal: stop.signal })

  canvas.tabIndex = 0
  canvas.dataset.mode = 'control'
  canvas.setAttribute('role', 'application')
  let movedAt = 0

  const mouse = (event: PointerEvent, action: 'move' | 'down' | 'up', clicks: number) =>
    send({
      kind: 'mouse',
      action,
      ...pointOf(canvas, event, size()),
      button: action === 'move' ? 'none' : (BUTTONS[event.button] ?? 'none'),
      buttons: event.buttons & 31,
      click_count: Math.min(3, clicks),
      modifiers: modifiersOf(event),
    })
  const clicks = new ClickCounter()

  on('pointermove', event => {
    if (event.timeStamp - movedAt < MOVE_PACE_MS) return
    movedAt = event.timeStamp
    mouse(event, 'move', 0)
  })
  on('pointerdown', event => {
    event.preventDefault()
    canvas.focus()
    canvas.setPointerCapture(event.pointerId)
    mouse(event, 'down', clicks.down(event))
  })
  on('pointerup', event => mouse(event, 'up', clicks.current))
  on('contextmenu', event => event.preventDefault())
  on(
    'wheel',
    event => {
      event.preventDefault()
      const { x, y } = pointOf(canvas, event, size())
      const delta_x = within(event.deltaX, 10_000)
      const delta_y = within(event.deltaY, 10_000)
      send({ kind: 'wheel', x, y, delta_x, delta_y, modifiers: modifiersOf(event) })
    },
    { passive: false },
  )
  const key = (event: KeyboardEvent, action: 'down' | 'up') => {
    // The way out for those who have no mouse.
    if (event.key === 'Escape' && event.shiftKey) return canvas.blur()
    if (event.isComposing || event.key === 'Process' || event.key === 'Unidentified') return
    // Pasting is the browser's to do; what is pasted comes as text.
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'v') return
    event.preventDefault()
    send({
      kind: 'key',
      action,
      key: event.key.slice(0, 32),
      code: event.code.slice(0, 32),
      modifiers: modifiersOf(event),
    })
  }
  on('keydown', event => key(event, 'down'))
  on('keyup', event => key(event, 'up'))
  on('compositionend', event => {
    if (event.data !== '') send({ kind: 'text', text: event.data.slice(0, 4096) })
  })
  const paste = (event: ClipboardEvent) => {
    if (document.activeElement !== canvas) return
    const text = event.clipboardData?.getData('text/plain').slice(0, 4096) ?? ''
    if (text !== '') send({ kind: 'text', text })
    event.preventDefault()
  }
  document.addEventListener('paste', paste, { signal: stop.signal })

  return () => {
    stop.abort()
    canvas.removeAttribute('tabindex')
    canvas.setAttribute('role', 'img')
    delete canvas.dataset.mode
  }
}

/** A pointer does not say whether its press is the second of a double click. */
class ClickCounter {
  current = 1
  #last = { at: Number.NEGATIVE_INFINITY, x: 0, y: 0, button: -1 }

  down({ timeStamp, clientX, clientY, button }: PointerEvent): number {
    const { at, x, y, button: before } = this.#last
    const isAgain = timeStamp - at < 400 && Math.hypot(clientX - x, clientY - y) < 6 && button === before
    this.current = isAgain ? this.current + 1 : 1
    this.#last = { at: timeStamp, x: clientX, y: clientY, button }
    return this.current
  }
}

/** Where on the watched page, whatever size it is shown in. */
function pointOf(
  canvas: HTMLCanvasElement,
  event: { readonly clientX: number; readonly clientY: number },
  size: Size,
): { x: number; y: number } {
  const box = canvas.getBoundingClientRect()
  const x = ((event.clientX - box.left) / box.width) * size.width
  const y = ((event.clientY - box.top) / box.height) * size.height
  return { x: Math.round(within(x, 16_384)), y: Math.round(within(y, 16_384)) }
}

function modifiersOf(event: {
  readonly altKey: boolean
  readonly ctrlKey: boolean
  readonly metaKey: boolean
  readonly shiftKey: boolean
}): number {
  return (event.altKey ? 1 : 0) | (event.ctrlKey ? 2 : 0) | (event.metaKey ? 4 : 0) | (event.shiftKey ? 8 : 0)
}

function within(value: number, limit: number): number {
  return Math.max(-limit, Math.min(limit, Number.isFinite(value) ? value : 0))
}
