import type { InputEvent as StreamInput } from '../../protocol/stream.ts'
import { readKey, strokeOf } from './keys.ts'
import type { Point } from './touch.ts'

/** Longer text would not pass. */
const TEXT_LIMIT = 4096
/** Unseen, and nothing that a pointer meets. A smaller font would make a phone zoom in. */
const STYLE = {
  position: 'absolute',
  width: '1px',
  height: '1em',
  margin: '0',
  padding: '0',
  border: '0',
  outline: '0',
  opacity: '0',
  resize: 'none',
  overflow: 'hidden',
  'font-size': '16px',
  'pointer-events': 'none',
} as const

/**
 * A field over the picture has the focus instead of it: only what can be edited is given composed characters, and only
 * for it a phone opens its keyboard. What arrives in it is sent and taken out again.
 */
export class Keyboard {
  readonly #canvas: HTMLCanvasElement
  readonly #field = document.createElement('textarea')

  constructor(canvas: HTMLCanvasElement, send: (event: StreamInput) => void, signal: AbortSignal) {
    this.#canvas = canvas
    const field = this.#field
    field.id = 'keyboard'
    field.setAttribute('aria-label', 'Keyboard of the browser of the run; Shift and Escape leave it')
    for (const name of ['autocomplete', 'autocorrect', 'autocapitalize']) field.setAttribute(name, 'off')
    field.spellcheck = false
    for (const [name, value] of Object.entries(STYLE)) field.style.setProperty(name, value)
    this.#place({ x: 0, y: 0 })
    canvas.after(field)
    this.#listen(send, signal)
    signal.addEventListener('abort', () => {
      field.remove()
      delete canvas.dataset.keyboard
    })
  }

  /** @param at where in the window: what is being composed, and a phone's view, are brought there */
  take(at: { readonly clientX: number; readonly clientY: number }): void {
    const box = this.#canvas.getBoundingClientRect()
    this.#place({ x: at.clientX - box.left, y: at.clientY - box.top })
    this.#field.focus({ preventScroll: true })
  }

  #place({ x, y }: Point): void {
    const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = this.#canvas
    const within = (value: number, limit: number) => Math.max(0, Math.min(value, limit - 20))
    this.#field.style.setProperty('left', `${offsetLeft + within(x, offsetWidth)}px`)
    this.#field.style.setProperty('top', `${offsetTop + within(y, offsetHeight)}px`)
  }

  #listen(send: (event: StreamInput) => void, signal: AbortSignal): void {
    const field = this.#field
    const sendText = (text: string) => {
      if (text !== '') send({ kind: 'text', text: text.slice(0, TEXT_LIMIT) })
    }
    const sendField = () => {
      sendText(field.value)
      field.value = ''
    }
    const sendKey = (event: KeyboardEvent, action: 'down' | 'up') => {
      const read = readKey(event, action, /mac/i.test(navigator.platform))
      if (read === 'browser') return
      event.preventDefault()
      if (read === 'way_out') field.blur()
      else send(read)
    }
    const options = { signal }
    field.addEventListener('keydown', event => sendKey(event, 'down'), options)
    field.addEventListener('keyup', event => sendKey(event, 'up'), options)
    field.addEventListener(
      'beforeinput',
      event => {
        if (event.isComposing) return
        for (const stroke of strokeOf(event.inputType)) {
          event.preventDefault()
          send(stroke)
        }
      },
      options,
    )
    field.addEventListener('input', event => (event as InputEvent).isComposing || sendField(), options)
    field.addEventListener('compositionend', sendField, options)
    field.addEventListener(
      'paste',
      event => {
        event.preventDefault()
        sendText(event.clipboardData?.getData('text/plain') ?? '')
      },
      options,
    )
    field.addEventListener('focus', () => this.#canvas.setAttribute('data-keyboard', 'taken'), options)
    field.addEventListener('blur', () => this.#canvas.removeAttribute('data-keyboard'), options)
  }
}
