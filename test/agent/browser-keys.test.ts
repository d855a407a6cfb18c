import { expect, test } from 'vitest'
import { isForPage } from '../../agent/live/browser-keys.ts'
import { InputEvent } from '../../protocol/stream.ts'

const ALT = 1
const CTRL = 2
const META = 4
const SHIFT = 8

function passes(key: string, modifiers: number): boolean {
  const event = InputEvent.parse({ kind: 'key', action: 'down', key, code: 'KeyA', modifiers })
  if (event.kind !== 'key') throw new Error('a key is a key')
  return isForPage(event)
}

test.each<[string, number]>([
  ...[
    't',
    'n',
    'w',
    'o',
    'u',
    'h',
    'j',
    'l',
    'd',
    'k',
    'e',
    'g',
    'p',
    's',
    'r',
    'f',
    'q',
    '1',
    '9',
    'Tab',
    'F4',
  ].map((key): [string, number] => [key, CTRL]),
  ...['T', 'N', 'I', 'J', 'C', 'B', 'O', 'A', 'V', 'Delete2', 'Tab'].map((key): [string, number] => [
    key,
    CTRL | SHIFT,
  ]),
  ...['t', 'l', 'w', 'n', 'q', ','].map((key): [string, number] => [key, META]),
  ...['f', 'e', 'd', 'Home', 'ArrowLeft', 'Enter', 'F4', ' '].map((key): [string, number] => [key, ALT]),
  ...['Tab', 'Delete', 'F1'].map((key): [string, number] => [key, CTRL | ALT]),
  ...['F1', 'F3', 'F6', 'F7', 'F10', 'F11', 'F12', 'BrowserHome', 'BrowserSearch', 'LaunchMail'].map(
    (key): [string, number] => [key, 0],
  ),
  ['Escape', SHIFT],
  ['F5', CTRL],
  ['F10', SHIFT],
])('the browser’s own shortcut %s with modifiers %i is kept from it', (key, modifiers) => {
  expect(passes(key, modifiers)).toBe(false)
})

test.each<[string, number]>([
  ...[
    'a',
    'Z',
    'é',
    '@',
    'Enter',
    'Tab',
    'Backspace',
    'Escape',
    'ArrowUp',
    'PageDown',
    'F2',
    'F5',
    'Shift',
    'Control',
  ].map((key): [string, number] => [key, 0]),
  ...['A', 'Tab', 'Enter', 'ArrowLeft', '!'].map((key): [string, number] => [key, SHIFT]),
  ...['a', 'c', 'v', 'x', 'z', 'y', 'b', 'i', 'Enter', 'Backspace', 'ArrowRight', 'Home'].map(
    (key): [string, number] => [key, CTRL],
  ),
  ...['Z', 'ArrowLeft', 'End'].map((key): [string, number] => [key, CTRL | SHIFT]),
  ...['a', 'c', 'v'].map((key): [string, number] => [key, META]),
  ['@', CTRL | ALT],
  ['Control', CTRL],
  ['Alt', ALT],
])('%s with modifiers %i is for the page', (key, modifiers) => {
  expect(passes(key, modifiers)).toBe(true)
})
