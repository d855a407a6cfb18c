import { describe, expect, test } from 'vitest'
import { signedInFor } from '../../dashboard/app/signed-in-for.ts'
import { permissionOf } from '../../dashboard/live/permission.ts'
import { refusalOf } from '../../dashboard/live/phase.ts'
import { mintSecret } from '../../protocol/secrets.ts'
import { STREAM_CLOSE } from '../../protocol/stream.ts'
import { mintId } from '../../worker/ids.ts'

const link = mintSecret('liveLink')
const kept = mintSecret('liveLink')

describe('how a page may watch', () => {
  test('is by the link of its address, or by the one of its tab', () => {
    expect(permissionOf(`#${link}`, '', kept)).toEqual({ kind: 'link', link })
    expect(permissionOf('', '', kept)).toEqual({ kind: 'link', link: kept })
  })

  test.each([
    ['cut short', `#${link.slice(0, -1)}`],
    ['only begun', '#cty_link_'],
    ['with something behind it', `#${link}.`],
    ['another secret', `#${mintSecret('apiKey')}`],
  ])('is not known from a link that is %s, whatever the tab has', (_name, fragment) => {
    expect(permissionOf(fragment, '', null)).toBeNull()
    expect(permissionOf(fragment, '', kept)).toBeNull()
  })

  test('is as whoever is signed in where there is no link', () => {
    expect(permissionOf('', '?mode=control', null)).toEqual({ kind: 'session', mode: 'control' })
    expect(permissionOf('#', '?mode=everything', null)).toEqual({ kind: 'session', mode: 'view' })
  })
})

describe('whoever may not watch', () => {
  const session = { kind: 'session', mode: 'view' } as const

  test.each(['unauthenticated', STREAM_CLOSE.unauthenticated])('may sign in, on %s', code => {
    expect(refusalOf(session, code, 'Sign in, or send a credential as Authorization: Bearer')).toEqual({
      phase: 'refused',
      reason: 'open the link you were given, or sign in',
      remedy: 'sign_in',
    })
  })

  test('is told what became of their link, and not to try it again', () => {
    const refusal = refusalOf({ kind: 'link', link }, 'unauthenticated', 'The link was revoked.')
    expect(refusal).toEqual({ phase: 'refused', reason: 'The link was revoked.' })
    expect(refusalOf({ kind: 'link', link }, 'not_found', 'no such run').remedy).toBeUndefined()
  })

  test('is led to the runs there are where there is none like that', () => {
    expect(refusalOf(session, 'not_found', 'no such run').remedy).toBe('find_run')
  })

  test('may try again what may be another time', () => {
    expect(refusalOf(session, 'feature_disabled', 'off').remedy).toBe('try_again')
  })
})

describe('whoever signed in for the live page', () => {
  const place = `/live/${mintId('run')}`

  test.each([place, `${place}?mode=control`])('goes back to %s', then => {
    expect(signedInFor(`?then=${encodeURIComponent(then)}`)).toBe(then)
  })

  test.each([
    '',
    '?then=',
    '?then=https://elsewhere.example/',
    '?then=//elsewhere.example/live/x',
    '?then=/live/garbage',
    `?then=${encodeURIComponent(`//elsewhere.example${place}`)}`,
    `?then=${encodeURIComponent(`${place}/../../runs`)}`,
    `?then=${encodeURIComponent(`${place}?mode=control&more`)}`,
    '?then=/runs',
  ])('goes nowhere else: %s', search => {
    expect(signedInFor(search)).toBeNull()
  })
})
