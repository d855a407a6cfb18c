import type { InputEvent } from '../../protocol/stream.ts'
import { isTypedWithAlt } from './typed-with-alt.ts'

/**
 * Which keys are for the page. The browser has shortcuts of its own that open new tabs, its history or a place to type
 * an address into, and with those a viewer would read the files of the container and visit whatever the host reaches.
 * So of keys that are held with Ctrl, Alt or Meta, and of those that are made for browsers, only what edits a page
 * passes. It is decided here and not in the viewer's page, because anybody may speak to the relay by hand.
 */

const ALT = 1
const CTRL = 2
const META = 4
const SHIFT = 8

const MODIFIERS = new Set(['Shift', 'Control', 'Alt', 'AltGraph', 'Meta'])
/** With Ctrl or Meta: copy and paste, undo and redo, bold and italic. */
const EDITING = new Set('acvxzybi')
/** With Ctrl or Meta: moving about in text. */
const MOVING = /^(?:Enter|Backspace|Delete|Home|End|Arrow(?:Left|Right|Up|Down))$/
/** The browser does nothing with these, or loads the page anew. */
const FREE_FUNCTION_KEYS = new Set(['F2', 'F5', 'F8', 'F9'])

export function isForPage(event: Extract<InputEvent, { kind: 'key' }>): boolean {
  const { key, modifiers } = event
  if (MODIFIERS.has(key)) return true
  if (/^F\d+$/.test(key)) return FREE_FUNCTION_KEYS.has(key) && modifiers === 0
  if (/^(?:Browser|Launch)/.test(key)) return false
  if (key === 'Escape') return modifiers === 0
  const held = modifiers & (ALT | CTRL | META)
  if (held === 0) return true
  // AltGr arrives as Ctrl and Alt together, and types.
  if (held === (ALT | CTRL)) return [...key].length === 1
  if ((held & ALT) !== 0) return isTypedWithAlt(event)
  const letter = key.toLowerCase()
  return MOVING.test(key) || (EDITING.has(letter) && ((modifiers & SHIFT) === 0 || letter === 'z'))
}
