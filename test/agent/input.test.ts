import { describe, expect, test } from 'vitest'
import { isForPage } from '../../agent/live/browser-keys.ts'
import { inputCall } from '../../agent/live/input.ts'
import { InputEvent } from '../../protocol/stream.ts'

function callOf(event: object) {
  return inputCall(InputEvent.parse(event))
}

const SHIFT = 8
const CTRL = 2
const ALT = 1
const META = 4

describe('what a viewer does becomes a call of the Input domain', () => {
  test.each([
    ['move', 'mouseMoved'],
    ['down', 'mousePressed'],
    ['up', 'mouseReleased'],
  ])('mouse %s is %s', (action, type) => {
    const event = {
      kind: 'mouse',
      action,
      x: 10.5,
      y: 20,
      button: 'left',
      buttons: 1,
      click_count: 2,
      modifiers: SHIFT,
    }
    expect(callOf(event)).toEqual({
      method: 'Input.dispatchMouseEvent',
      params: { type, x: 10.5, y: 20, button: 'left', buttons: 1, clickCount: 2, modifiers: SHIFT },
    })
  })

  test('a wheel turns at its place', () => {
    expect(callOf({ kind: 'wheel', x: 1, y: 2, delta_x: -3, delta_y: 120, modifiers: CTRL })).toEqual({
      method: 'Input.dispatchMouseEvent',
      params: { type: 'mouseWheel', x: 1, y: 2, deltaX: -3, deltaY: 120, modifiers: CTRL },
    })
  })

  test('text is inserted as it is', () => {
    expect(callOf({ kind: 'text', text: 'Grüße 🙂' })).toEqual({
      method: 'Input.insertText',
      params: { text: 'Grüße 🙂' },
    })
  })

  test.each<[string, string, number, object]>([
    ['a', 'KeyA', 0, { type: 'keyDown', text: 'a', windowsVirtualKeyCode: 65 }],
    ['A', 'KeyA', SHIFT, { type: 'keyDown', text: 'A', windowsVirtualKeyCode: 65 }],
    ['!', 'Digit1', SHIFT, { type: 'keyDown', text: '!', windowsVirtualKeyCode: 49 }],
    [' ', 'Space', 0, { type: 'keyDown', text: ' ', windowsVirtualKeyCode: 32 }],
    ['ö', 'Semicolon', 0, { type: 'keyDown', text: 'ö', windowsVirtualKeyCode: 186 }],
    ['5', 'Numpad5', 0, { type: 'keyDown', text: '5', windowsVirtualKeyCode: 101, isKeypad: true }],
    ['Enter', 'Enter', 0, { type: 'keyDown', text: '\r', windowsVirtualKeyCode: 13 }],
    ['@', 'KeyQ', CTRL | ALT, { type: 'keyDown', text: '@', windowsVirtualKeyCode: 81 }],
    ['c', 'KeyC', CTRL, { type: 'rawKeyDown', windowsVirtualKeyCode: 67 }],
    ['f', 'KeyF', ALT, { type: 'rawKeyDown', windowsVirtualKeyCode: 70 }],
    ['v', 'KeyV', META, { type: 'rawKeyDown', windowsVirtualKeyCode: 86 }],
    ['Backspace', 'Backspace', 0, { type: 'rawKeyDown', windowsVirtualKeyCode: 8 }],
    ['Tab', 'Tab', SHIFT, { type: 'rawKeyDown', windowsVirtualKeyCode: 9 }],
    ['ArrowLeft', 'ArrowLeft', 0, { type: 'rawKeyDown', windowsVirtualKeyCode: 37 }],
    ['F5', 'F5', 0, { type: 'rawKeyDown', windowsVirtualKeyCode: 116 }],
    ['Shift', 'ShiftLeft', SHIFT, { type: 'rawKeyDown', windowsVirtualKeyCode: 16 }],
    ['Dead', 'Quote', 0, { type: 'rawKeyDown', windowsVirtualKeyCode: 222 }],
    ['Unidentified', '', 0, { type: 'rawKeyDown', windowsVirtualKeyCode: 0 }],
  ])('key %s (%s, modifiers %i) goes down as %j', (key, code, modifiers, expected) => {
    const { method, params } = callOf({ kind: 'key', action: 'down', key, code, modifiers })
    expect(method).toBe('Input.dispatchKeyEvent')
    expect(params).toMatchObject({ key, code, modifiers, ...expected })
    if (!('text' in expected)) expect(params).not.toHaveProperty('text')
  })

  // Macs: German, French, Spanish, and English ones. What they type with Option, no other keyboard has as a shortcut.
  test.each<[string, string, number]>([
    ['@', 'KeyL', 0],
    ['@', 'Digit2', 0],
    ['[', 'Digit5', 0],
    ['|', 'Digit7', 0],
    ['{', 'Digit8', 0],
    ['\\', 'Digit7', SHIFT],
    ['~', 'KeyN', 0],
    ['#', 'Digit3', 0],
    ['å', 'KeyA', 0],
    ['€', 'Digit2', SHIFT],
    ['…', 'Semicolon', 0],
  ])('%s with Option (%s, modifiers %i) is typed, and no shortcut', (key, code, shift) => {
    for (const action of ['down', 'up'] as const) {
      const event = { kind: 'key' as const, action, key, code, modifiers: ALT | shift }
      expect(isForPage(event)).toBe(true)
      const { params } = callOf(event)
      expect(params).toMatchObject(
        action === 'down' ? { type: 'keyDown', text: key, modifiers: shift } : { modifiers: shift },
      )
    }
  })

  test.each<[string, string, number]>([
    ['f', 'KeyF', 0],
    ['F', 'KeyF', SHIFT],
    // French: the key is where English has another one.
    ['a', 'KeyQ', 0],
    ['1', 'Digit1', 0],
    ['!', 'Digit1', SHIFT],
    ['@', 'Digit2', SHIFT],
    ['[', 'BracketLeft', 0],
    ['|', 'Backslash', SHIFT],
    [' ', 'Space', 0],
    ['\u00a0', 'Space', 0],
    ['+', 'NumpadAdd', 0],
    ['Enter', 'Enter', 0],
    ['Dead', 'KeyN', 0],
  ])(
    '%s with Alt (%s, modifiers %i) stays a shortcut, which is kept from the browser',
    (key, code, shift) => {
      const event = { kind: 'key' as const, action: 'down' as const, key, code, modifiers: ALT | shift }
      expect(isForPage(event)).toBe(false)
      expect(callOf(event).params).toMatchObject({ modifiers: ALT | shift })
      expect(callOf(event).params).not.toHaveProperty('text')
    },
  )

  test('a key that comes up types nothing', () => {
    const { params } = callOf({ kind: 'key', action: 'up', key: 'a', code: 'KeyA' })
    expect(params).toMatchObject({ type: 'keyUp', key: 'a', windowsVirtualKeyCode: 65 })
    expect(params).not.toHaveProperty('text')
  })
})
