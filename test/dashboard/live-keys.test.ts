import { describe, expect, test } from 'vitest'
import { type Key, readKey, strokeOf } from '../../dashboard/live/keys.ts'

const NONE = { altKey: false, ctrlKey: false, metaKey: false, shiftKey: false, isComposing: false }
const key = (name: string, held: Partial<Key> = {}): Key => ({
  ...NONE,
  key: name,
  code: `Key${name.toUpperCase()}`,
  ...held,
})

describe('a key', () => {
  test.each<[string, Key]>([
    ['a dead one', key('Dead')],
    ['one that an input method has taken', key('Process')],
    ['one of a screen’s keyboard', key('Unidentified')],
    ['one within a composition', key('e', { isComposing: true })],
    ['the paste of Ctrl+V', key('v', { ctrlKey: true })],
    ['the paste of Cmd+V', key('V', { metaKey: true })],
  ])('is left to the browser when it is %s', (_name, pressed) => {
    expect(readKey(pressed, 'down', false)).toBe('browser')
  })

  test('is the way out with Shift and Escape, and only then', () => {
    expect(readKey(key('Escape', { shiftKey: true }), 'down', false)).toBe('way_out')
    expect(readKey(key('Escape'), 'down', false)).toMatchObject({ kind: 'key', key: 'Escape', modifiers: 0 })
  })

  test('is sent with what is held', () => {
    expect(readKey(key('a', { ctrlKey: true, shiftKey: true }), 'up', false)).toEqual({
      kind: 'key',
      action: 'up',
      key: 'a',
      code: 'KeyA',
      modifiers: 10,
    })
  })

  test.each([
    ['types with Option on a Mac', { altKey: true }, true, 0],
    ['is a shortcut with Alt elsewhere', { altKey: true }, false, 1],
    ['is a shortcut with Option and Cmd', { altKey: true, metaKey: true }, true, 5],
    ['types with AltGr, which is Ctrl and Alt', { altKey: true, ctrlKey: true }, false, 3],
  ])('%s', (_name, held, isMac, modifiers) => {
    expect(readKey(key('@', { ...held, code: 'KeyL' }), 'down', isMac)).toMatchObject({ modifiers })
  })

  test('of a screen is known by what it would change', () => {
    expect(strokeOf('deleteContentBackward').map(event => 'key' in event && event.key)).toEqual([
      'Backspace',
      'Backspace',
    ])
    expect(strokeOf('insertLineBreak')).toMatchObject([{ action: 'down', key: 'Enter' }, { action: 'up' }])
    expect(strokeOf('insertText')).toEqual([])
  })
})
