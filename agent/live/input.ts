import type { InputEvent } from '../../protocol/stream.ts'
import { virtualKeyCode } from './keys.ts'
import { isTypedWithAlt, withoutAlt } from './typed-with-alt.ts'

/** What a viewer did, as a call of the DevTools protocol's Input domain. Pure. */
export interface InputCall {
  readonly method: 'Input.dispatchMouseEvent' | 'Input.dispatchKeyEvent' | 'Input.insertText'
  readonly params: Readonly<Record<string, string | number | boolean>>
}

const MOUSE_TYPES = { move: 'mouseMoved', down: 'mousePressed', up: 'mouseReleased' } as const
const ALT = 1
const CTRL = 2
const META = 4

type Of<Kind extends InputEvent['kind']> = Extract<InputEvent, { kind: Kind }>

export function inputCall(event: InputEvent): InputCall {
  switch (event.kind) {
    case 'mouse':
      return mouseCall(event)
    case 'wheel':
      return wheelCall(event)
    case 'key':
      return { method: 'Input.dispatchKeyEvent', params: keyParams(event) }
    case 'text':
      return { method: 'Input.insertText', params: { text: event.text } }
  }
}

function mouseCall({ action, x, y, button, buttons, click_count, modifiers }: Of<'mouse'>): InputCall {
  const type = MOUSE_TYPES[action]
  return {
    method: 'Input.dispatchMouseEvent',
    params: { type, x, y, button, buttons, clickCount: click_count, modifiers },
  }
}

function wheelCall({ x, y, delta_x, delta_y, modifiers }: Of<'wheel'>): InputCall {
  return {
    method: 'Input.dispatchMouseEvent',
    params: { type: 'mouseWheel', x, y, deltaX: delta_x, deltaY: delta_y, modifiers },
  }
}

/** A key that types something has its text with it; one held with Ctrl, Alt or Meta is mostly a shortcut and types nothing. */
function keyParams(event: Of<'key'>): InputCall['params'] {
  const { action, key, code } = event
  const modifiers = isTypedWithAlt(event) ? withoutAlt(event.modifiers) : event.modifiers
  const keyCode = virtualKeyCode(key, code)
  const isKeypad = code.startsWith('Numpad')
  const common = {
    key,
    code,
    modifiers,
    windowsVirtualKeyCode: keyCode,
    nativeVirtualKeyCode: keyCode,
    isKeypad,
  }
  if (action === 'up') return { type: 'keyUp', ...common }
  const text = textOf(key, modifiers)
  return text === null ? { type: 'rawKeyDown', ...common } : { type: 'keyDown', ...common, text }
}

function textOf(key: string, modifiers: number): string | null {
  // AltGr arrives as Ctrl and Alt together, and types.
  const held = modifiers & (ALT | CTRL)
  if ((modifiers & META) !== 0 || held === ALT || held === CTRL) return null
  if (key === 'Enter') return '\r'
  return [...key].length === 1 ? key : null
}
