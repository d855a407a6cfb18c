/**
 * Secrets are `<prefix>_<43 base62: 256 random bits><6 base62: CRC-32 of all that precedes>`.
 * The checksum lets a typo be refused before any lookup; only the SHA-256 is ever stored.
 */
export const SECRET_PREFIXES = {
  apiKey: 'cty_key',
  registrationToken: 'cty_reg',
  runnerCredential: 'cty_run',
  viewerTicket: 'cty_view',
  liveLink: 'cty_link',
  browserSession: 'cty_web',
} as const

export type SecretKind = keyof typeof SECRET_PREFIXES

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const RANDOM_BYTES = 32
const RANDOM_CHARS = 43
const CHECKSUM_CHARS = 6

/** @param random exactly 32 bytes from a cryptographic source */
export function formatSecret(kind: SecretKind, random: Uint8Array): string {
  if (random.length !== RANDOM_BYTES) throw new RangeError(`expected ${RANDOM_BYTES} random bytes`)
  let value = 0n
  for (const byte of random) value = (value << 8n) | BigInt(byte)
  const body = `${SECRET_PREFIXES[kind]}_${base62(value, RANDOM_CHARS)}`
  return body + checksum(body)
}

export function mintSecret(kind: SecretKind): string {
  return formatSecret(kind, crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)))
}

/** True when the text has this kind's prefix and a right checksum. Says nothing about its being known. */
export function isWellFormedSecret(kind: SecretKind, text: string): boolean {
  const prefix = `${SECRET_PREFIXES[kind]}_`
  if (!text.startsWith(prefix) || text.length !== prefix.length + RANDOM_CHARS + CHECKSUM_CHARS) return false
  if (!/^[0-9A-Za-z]+$/.test(text.slice(prefix.length))) return false
  return checksum(text.slice(0, -CHECKSUM_CHARS)) === text.slice(-CHECKSUM_CHARS)
}

/** Lower-case hex SHA-256, the only form of a secret at rest. */
export async function hashSecret(secret: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(secret))
  return Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, '0')).join('')
}

/** Compares two hashes in time that depends only on their length. */
export function equalHashes(a: string, b: string): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}

/** What a list may show of a secret: its prefix and last four characters. */
export function secretHint(kind: SecretKind, secret: string): string {
  return `${SECRET_PREFIXES[kind]}_…${secret.slice(-4)}`
}

function base62(value: bigint, width: number): string {
  let text = ''
  for (let rest = value; text.length < width; rest /= 62n) text = ALPHABET.charAt(Number(rest % 62n)) + text
  return text
}

function checksum(body: string): string {
  return base62(BigInt(crc32(new TextEncoder().encode(body))), CHECKSUM_CHARS)
}

/** CRC-32 (IEEE 802.3), bitwise: secrets are short and minted rarely. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return (crc ^ 0xffffffff) >>> 0
}
