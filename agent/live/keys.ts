/**
 * Windows virtual key codes, which Chromium goes by for everything that is not text: shortcuts, editing, scrolling.
 * Source: https://www.w3.org/TR/uievents/#legacy-key-models and Chromium's ui/events/keycodes.
 */

const BY_KEY: Readonly<Record<string, number>> = {
  Backspace: 8,
  Tab: 9,
  Enter: 13,
  Shift: 16,
  Control: 17,
  Alt: 18,
  Pause: 19,
  CapsLock: 20,
  Escape: 27,
  PageUp: 33,
  PageDown: 34,
  End: 35,
  Home: 36,
  ArrowLeft: 37,
  ArrowUp: 38,
  ArrowRight: 39,
  ArrowDown: 40,
  PrintScreen: 44,
  Insert: 45,
  Delete: 46,
  Meta: 91,
  ContextMenu: 93,
  NumLock: 144,
  ScrollLock: 145,
}

/** By place on the keyboard, because a shortcut's letter depends on modifiers and layout. */
const BY_CODE: Readonly<Record<string, number>> = {
  Space: 32,
  NumpadMultiply: 106,
  NumpadAdd: 107,
  NumpadSubtract: 109,
  NumpadDecimal: 110,
  NumpadDivide: 111,
  Semicolon: 186,
  Equal: 187,
  Comma: 188,
  Minus: 189,
  Period: 190,
  Slash: 191,
  Backquote: 192,
  BracketLeft: 219,
  Backslash: 220,
  BracketRight: 221,
  Quote: 222,
}

/** @param key and @param code as in the DOM's `KeyboardEvent` @returns 0 for a key that has none */
export function virtualKeyCode(key: string, code: string): number {
  const named = BY_KEY[key]
  if (named !== undefined) return named
  const functionKey = /^F([1-9]|1\d|2[0-4])$/.exec(key)?.[1]
  if (functionKey !== undefined) return 111 + Number(functionKey)
  const letterOrDigit = /^(?:Key([A-Z])|Digit(\d))$/.exec(code)
  if (letterOrDigit !== null) return (letterOrDigit[1] ?? letterOrDigit[2] ?? '').charCodeAt(0)
  const numpadDigit = /^Numpad(\d)$/.exec(code)?.[1]
  if (numpadDigit !== undefined) return 96 + Number(numpadDigit)
  return BY_CODE[code] ?? 0
}
