import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import {
  equalHashes,
  formatSecret,
  hashSecret,
  isWellFormedSecret,
  mintSecret,
  SECRET_PREFIXES,
  type SecretKind,
  secretHint,
} from '../../protocol/secrets.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const KINDS = Object.keys(SECRET_PREFIXES) as SecretKind[]

function numberOf(base62: string): bigint {
  return [...base62].reduce((value, digit) => value * 62n + BigInt(ALPHABET.indexOf(digit)), 0n)
}

describe('a secret', () => {
  test.each(KINDS)('of kind %s is prefix, 43 characters of randomness and 6 of checksum', kind => {
    const secret = mintSecret(kind)
    expect(secret).toMatch(new RegExp(`^${SECRET_PREFIXES[kind]}_[0-9A-Za-z]{49}$`))
    expect(isWellFormedSecret(kind, secret)).toBe(true)
    for (const other of KINDS) if (other !== kind) expect(isWellFormedSecret(other, secret)).toBe(false)
  })

  test('ends in the CRC-32 of all that precedes it, as another implementation computes it', () => {
    for (const kind of KINDS) {
      const secret = mintSecret(kind)
      expect(Number(numberOf(secret.slice(-6)))).toBe(crc32(secret.slice(0, -6)))
    }
  })

  test('has a known form for known randomness', () => {
    expect(formatSecret('apiKey', new Uint8Array(32))).toMatch(/^cty_key_0{43}/)
    const all = formatSecret('apiKey', new Uint8Array(32).fill(255)).slice('cty_key_'.length, -6)
    expect(numberOf(all)).toBe(2n ** 256n - 1n)
  })

  test('with any single character changed is refused', () => {
    const secret = mintSecret('registrationToken')
    for (let at = 0; at < secret.length; at++) {
      const other = secret.charAt(at) === 'x' ? 'y' : 'x'
      const changed = secret.slice(0, at) + other + secret.slice(at + 1)
      expect(isWellFormedSecret('registrationToken', changed), `position ${at}`).toBe(false)
    }
  })

  test.each([
    '',
    'cty_key_',
    `cty_key_${'0'.repeat(48)}`,
    `cty_key_${'0'.repeat(50)}`,
    `cty_key_${'-'.repeat(49)}`,
    `cty_key_${'é'.repeat(49)}`,
  ])('is not %j', text => expect(isWellFormedSecret('apiKey', text)).toBe(false))

  test('needs exactly 32 random bytes', () => {
    expect(() => formatSecret('apiKey', new Uint8Array(31))).toThrow(RangeError)
  })

  test('is stored as the SHA-256 everyone knows', async () => {
    expect(await hashSecret('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  })

  test('shows four characters of itself in a hint', () => {
    const secret = mintSecret('runnerCredential')
    expect(secretHint('runnerCredential', secret)).toBe(`cty_run_…${secret.slice(-4)}`)
  })

  test('hashes are equal only when every character is', () => {
    expect(equalHashes('abcd', 'abcd')).toBe(true)
    expect(equalHashes('abcd', 'abce')).toBe(false)
    expect(equalHashes('abcd', 'abc')).toBe(false)
  })
})
