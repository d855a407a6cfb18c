import { describe, expect, test } from 'vitest'
import { ID_PREFIXES, PoolId, RunId } from '../../protocol/ids.ts'
import { ImageReference } from '../../protocol/image-reference.ts'
import { parseJson } from '../../protocol/json.ts'
import { JSON_DEPTH_LIMIT, LABEL_LIMIT_ITEMS } from '../../protocol/limits.ts'
import { Labels, Name, Timestamp, timestamp } from '../../protocol/text.ts'

const DIGEST = `sha256:${'a'.repeat(64)}`

describe('an image reference', () => {
  test.each([
    'busybox',
    'busybox:1.36',
    'team/agent',
    'docker.io/certyn/agent:v1.2.3',
    'localhost:5000/a/b/c:tag',
    '127.0.0.1:5000/agent',
    '[::1]:5000/agent:v1',
    `certyn/agent@${DIGEST}`,
    `certyn/agent:v1@${DIGEST}`,
    'a__b/c.d-e',
    'REGISTRY.example/agent',
    `a/${'b'.repeat(253)}:${'t'.repeat(128)}@${DIGEST}`,
    `${'a'.repeat(64)}:v1`,
    `team/${'a'.repeat(64)}`,
  ])('may be %s', text => expect(ImageReference.safeParse(text).success).toBe(true))

  test.each([
    '',
    ' busybox',
    'busybox ',
    'Busybox',
    'a//b',
    '/a',
    'a/',
    'a:',
    'a@sha256:short',
    'a:-tag',
    `a:${'t'.repeat(129)}`,
    'http://a/b',
    'a\nb',
    'a;rm -rf /',
    '../a',
    `a/${'b'.repeat(600)}`,
    `a/${'b'.repeat(254)}`,
    `localhost:5000/${'b'.repeat(241)}:v1`,
    'a'.repeat(64),
    '0123456789abcdef'.repeat(4),
  ])('may not be %j', text => expect(ImageReference.safeParse(text).success).toBe(false))
})

describe('an id', () => {
  const suffix = '01m858wk6vfvkt9rqhbgxvxwcy'

  test('is its kind and a UUID in Crockford base32', () => {
    expect(PoolId.safeParse(`pol_${suffix}`).success).toBe(true)
    expect(RunId.safeParse(`pol_${suffix}`).success).toBe(false)
  })

  test.each([
    `pol_${suffix}0`,
    `pol_${suffix.slice(1)}`,
    `pol_8${suffix.slice(1)}`,
    `pol_${suffix.slice(1)}u`,
    `POL_${suffix}`,
    suffix,
    `pol_${suffix}\n`,
  ])('is not %j', text => expect(PoolId.safeParse(text).success).toBe(false))

  test('has a prefix of three letters that no other kind has', () => {
    const prefixes = Object.values(ID_PREFIXES)
    expect(new Set(prefixes).size).toBe(prefixes.length)
    for (const prefix of prefixes) expect(prefix).toMatch(/^[a-z]{3}$/)
  })
})

describe('JSON from outside', () => {
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`

  test('may be as deep as the contract says and no deeper', () => {
    expect(parseJson(nested(JSON_DEPTH_LIMIT)).ok).toBe(true)
    expect(parseJson(nested(JSON_DEPTH_LIMIT + 2)).ok).toBe(false)
    expect(parseJson(`{"a":${nested(JSON_DEPTH_LIMIT + 2)}}`).ok).toBe(false)
  })

  test('that is absurdly deep is refused without harm', () => {
    expect(parseJson(nested(50_000)).ok).toBe(false)
  })

  test.each(['', '{', 'undefined', "{'a':1}", '[1,]'])('that is %j is refused', text => {
    expect(parseJson(text)).toMatchObject({ ok: false })
  })

  test.each(['{"__proto__":1}', '[{"a":{"__proto__":{"x":1}}}]'])(
    'that is %s is refused with the key named',
    text => {
      const parsed = parseJson(text)
      expect(parsed).toMatchObject({ ok: false, message: expect.stringContaining('__proto__') })
    },
  )

  test.each([
    ['null', null],
    ['1', 1],
    ['"é"', 'é'],
    ['{"a":[1]}', { a: [1] }],
  ])('%s is taken', (text, value) => {
    expect(parseJson(text)).toEqual({ ok: true, value })
  })
})

describe('labels', () => {
  const many = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 'v']))

  test('hold what RUNNER_LABELS can write', () => {
    expect(Labels.safeParse({ region: 'east', 'gpu type': 'none', empty: '' }).success).toBe(true)
    expect(Labels.safeParse(many(LABEL_LIMIT_ITEMS)).success).toBe(true)
  })

  test.each([
    { '': 'v' },
    { 'a=b': 'v' },
    { 'a,b': 'v' },
    { a: 'b,c' },
    { ['k'.repeat(64)]: 'v' },
    { a: 'v'.repeat(64) },
    { a: 'x\ny' },
    many(LABEL_LIMIT_ITEMS + 1),
  ])('do not hold %j', labels => expect(Labels.safeParse(labels).success).toBe(false))
})

describe('text', () => {
  test.each(['Größe', '日本', '🚀', "O'Neil <script>"])('of people may be %s', text =>
    expect(Name.parse(text)).toBe(text),
  )
  test.each(['', '   ', 'a\u0000b', 'a\u202eb'.replace('\u202e', '\u2028'), '\ud800', 'x'.repeat(101)])(
    'may not be %j',
    text => expect(Name.safeParse(text).success).toBe(false),
  )
  test('times are written in UTC with milliseconds', () => {
    expect(timestamp(0)).toBe('1970-01-01T00:00:00.000Z')
    expect(Timestamp.safeParse('1970-01-01T00:00:00Z').success).toBe(false)
  })
})
