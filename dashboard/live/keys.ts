import type { InputEvent as StreamInput } from '../../protocol/stream.ts'

/** As the DOM's events have them. */
export interface Modifiers {
  readonly altKey: boolean
  readonly ctrlKey: boolean
  readonly metaKey: boolean
  readonly shiftKey: boolean
}

export interface Key extends Modifiers {
  readonly key: string
  readonly code: string
  readonly isComposing: boolean
}

/** Keys that are part of a character yet to come, or that the browser does not tell: the text comes by itself. */
const COMPOSING: ReadonlySet<string> = new Set(['Dead', 'Process', 'Unidentified', 'Compose'])

/** @returns what is sent, or whose the key is: `way_out` of the keyboard, or the `browser`'s that the page is seen in */
export function readKey(
  event: Key,
  action: 'down' | 'up',
  isMac: boolean,
): StreamInput | 'way_out' | 'browser' {
  const { key, code } = event
  if (key === 'Escape' && event.shiftKey) return 'way_out'
  if (event.isComposing || COMPOSING.has(key)) return 'browser'
  // Pasting is the browser's to do; what is pasted comes as text.
  if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === 'v') return 'browser'
  const modifiers = modifiersOf(typesByOption(event, isMac) ? { ...event, altKey: false } : event)
  return { kind: 'key', action, key: key.slice(0, 32), code: code.slice(0, 32), modifiers }
}

/** On a Mac the Option key is what AltGr is elsewhere, and says it is Alt, with which a browser types nothing. */
function typesByOption({ key, altKey, ctrlKey, metaKey }: Key, isMac: boolean): boolean {
  return isMac && altKey && !ctrlKey && !metaKey && [...key].length === 1
}

/** Bit field of the DevTools protocol. */
export function modifiersOf({ altKey, ctrlKey, metaKey, shiftKey }: Modifiers): number {
  return (altKey ? 1 : 0) | (ctrlKey ? 2 : 0) | (metaKey ? 4 : 0) | (shiftKey ? 8 : 0)
}

/** Keys of a screen's keyboard, which tells what they would change in a text and not which they are. */
const BY_CHANGE: Readonly<Record<string, string>> = {
  deleteContentBackward: 'Backspace',
  deleteContentForward: 'Delete',
  insertLineBreak: 'Enter',
  insertParagraph: 'Enter',
}

/** @param inputType of the DOM's `beforeinput` @returns the key's stroke; nothing for what changes the text otherwise */
export function strokeOf(inputType: string): StreamInput[] {
  const key = BY_CHANGE[inputType]
  if (key === undefined) return []
  return (['down', 'up'] as const).map(action => ({ kind: 'key', action, key, code: key, modifiers: 0 }))
}
