import type { InputEvent } from '../../protocol/stream.ts'

/**
 * On a Mac, Option types the characters that a keyboard has no key for, on many layouts `@`, `[` and `|` among them; it
 * arrives as Alt. Elsewhere a key held with Alt is a shortcut, whose character is the key's own: so only another one
 * counts as typed. Which layout it is nobody says; a key's own are taken to be all letters of English, digits, and what
 * the key has on a US keyboard.
 */

const ALT = 1
const CTRL = 2
const META = 4
const SHIFT = 8

/** Where letters and digits are not all: without and with Shift. */
const OWN: Readonly<Record<string, readonly [string, string]>> = {
  Digit1: ['1', '!'],
  Digit2: ['2', '@'],
  Digit3: ['3', '#'],
  Digit4: ['4', '$'],
  Digit5: ['5', '%'],
  Digit6: ['6', '^'],
  Digit7: ['7', '&'],
  Digit8: ['8', '*'],
  Digit9: ['9', '('],
  Digit0: ['0', ')'],
  Minus: ['-', '_'],
  Equal: ['=', '+'],
  BracketLeft: ['[', '{'],
  BracketRight: [']', '}'],
  Backslash: ['\\', '|'],
  Semicolon: [';', ':'],
  Quote: ["'", '"'],
  Backquote: ['`', '~'],
  Comma: [',', '<'],
  Period: ['.', '>'],
  Slash: ['/', '?'],
}

/** Whether what is held with Alt is no shortcut but makes this character. */
export function isTypedWithAlt({ key, code, modifiers }: Extract<InputEvent, { kind: 'key' }>): boolean {
  if ((modifiers & (ALT | CTRL | META)) !== ALT) return false
  if ([...key].length !== 1 || /^[a-z0-9\s]$/i.test(key) || code.startsWith('Numpad')) return false
  return OWN[code]?.[(modifiers & SHIFT) === 0 ? 0 : 1] !== key
}

/** As the page is to hear of it: without Alt, which would make a shortcut of it. */
export function withoutAlt(modifiers: number): number {
  return modifiers & ~ALT
}
