import { describe, expect, test } from 'vitest'
import { pair, seconds, variable, whole } from '../../cli/input/values.ts'
import { readSettings, redacted } from '../../cli/settings.ts'
import { mintSecret } from '../../protocol/secrets.ts'

describe('values of options', () => {
  test.each([
    ['90', 90],
    ['90s', 90],
    ['15m', 900],
    ['2h', 7200],
    ['7d', 604_800],
    ['0', 0],
  ])('the duration %s is %i seconds', (text, expected) => {
    expect(seconds(text)).toBe(expected)
  })

  test.each(['', 's', '1y', '-1', '1.5h', ' 1', '1h30m', '9999999999'])('%j is no duration', text => {
    expect(() => seconds(text)).toThrow('expected a duration')
  })

  test.each(['', '1.5', 'x', '1e3', '0x10'])('%j is no whole number', text => {
    expect(() => whole(text)).toThrow('expected a whole number')
  })

  test('pairs are collected, later ones count, and values may hold anything', () => {
    expect(pair('a=1', pair('b=x=y', pair('a=0')))).toEqual({ a: '1', b: 'x=y' })
    expect(pair('a=')).toEqual({ a: '' })
    expect(() => pair('=1')).toThrow('expected KEY=VALUE')
    expect(() => pair('a')).toThrow('expected KEY=VALUE')
  })

  test('a variable without a value takes the one it has here, and says when it has none', () => {
    process.env.CERTYN_TEST_VARIABLE = 'here'
    expect(variable('CERTYN_TEST_VARIABLE')).toEqual({ CERTYN_TEST_VARIABLE: 'here' })
    expect(variable('CERTYN_TEST_VARIABLE=there')).toEqual({ CERTYN_TEST_VARIABLE: 'there' })
    expect(() => variable('CERTYN_NO_SUCH')).toThrow('no CERTYN_NO_SUCH in the environment')
  })
})

describe('settings', () => {
  const CERTYN_API_KEY = mintSecret('apiKey')
  const CERTYN_URL = 'https://certyn.example.com/base/'

  test('an option comes before the environment, and a path of the address stays', () => {
    expect(readSettings({ CERTYN_URL, CERTYN_API_KEY }, {}).url.href).toBe('https://certyn.example.com/base')
    const { url, apiKey } = readSettings({ CERTYN_URL, CERTYN_API_KEY }, { url: 'http://localhost:8787' })
    expect([url.href, apiKey]).toEqual(['http://localhost:8787/', CERTYN_API_KEY])
  })

  test('a key of another kind, or none at all, is named and not repeated', () => {
    const token = mintSecret('registrationToken')
    expect(() => readSettings({ CERTYN_URL, CERTYN_API_KEY: token }, {})).toThrow(
      /^CERTYN_API_KEY: holds no API key: one begins with cty_key_, and its end tells whether it is whole$/,
    )
    expect(() => readSettings({ CERTYN_URL }, { apiKeyFile: '/dev/null' })).toThrow(/^--api-key-file: holds/)
  })

  test('an address may hold no password', () => {
    expect(() => readSettings({ CERTYN_URL: 'https://u:p@x.example', CERTYN_API_KEY }, {})).toThrow(
      /^CERTYN_URL: must not hold a user name or password/,
    )
  })

  test('whatever is shaped like a secret is taken out of what is said', () => {
    const link = mintSecret('liveLink')
    expect(redacted(`a ${CERTYN_API_KEY} and ${link.slice(0, 20)}b`)).toBe(
      'a cty_key_[redacted] and cty_link_[redacted]',
    )
  })
})
