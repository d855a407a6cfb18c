import { constants } from 'node:os'
import { describe, expect, test } from 'vitest'
import { chromiumFlags } from '../../agent/browser/flags.ts'
import { pemCertificates } from '../../agent/browser/trust.ts'
import { exitCodeOf, startFailureOf } from '../../agent/exit-code.ts'
import { parseSettings } from '../../agent/settings.ts'

describe('what the agent is told', () => {
  test('a command is taken as it is, whatever else is set', () => {
    const parsed = parseSettings({ CERTYN_START_URL: 'https://shop.test/' }, ['npm', 'test', '--', '-x', ''])
    expect(parsed).toMatchObject({
      ok: true,
      settings: { task: { type: 'command', argv: ['npm', 'test', '--', '-x', ''] } },
    })
  })

  test('without a command a page is visited', () => {
    const parsed = parseSettings({ CERTYN_START_URL: ' https://shop.test/a?b=c ' }, [])
    expect(parsed).toMatchObject({
      ok: true,
      settings: {
        task: { type: 'visit', url: 'https://shop.test/a?b=c' },
        streamSocket: '/certyn/stream.sock',
      },
    })
  })

  test.each<[string, Record<string, string>]>([
    ['nothing to do', {}],
    ['nothing to do', { CERTYN_START_URL: '' }],
    ['CERTYN_START_URL', { CERTYN_START_URL: 'shop.test' }],
    ['CERTYN_START_URL', { CERTYN_START_URL: 'file:///etc/passwd' }],
    ['CERTYN_START_URL', { CERTYN_START_URL: 'javascript:alert(1)' }],
    ['CERTYN_STREAM_SOCKET', { CERTYN_START_URL: 'http://a.test', CERTYN_STREAM_SOCKET: 'stream.sock' }],
  ])('says %s for %j', (named, env) => {
    expect(parseSettings(env, [])).toEqual({ ok: false, message: expect.stringContaining(named) })
  })
})

describe('exit codes', () => {
  test.each<[number | null, NodeJS.Signals | null, number]>([
    [0, null, 0],
    [3, null, 3],
    [255, null, 255],
    [null, 'SIGTERM', 143],
    [null, 'SIGKILL', 137],
    [null, 'SIGSEGV', 128 + constants.signals.SIGSEGV],
    [null, null, 125],
  ])('code %s and signal %s make %i', (code, signal, expected) => {
    expect(exitCodeOf(code, signal)).toBe(expected)
  })

  test.each([
    ['ENOENT', 127, /command not found: x/],
    ['ENOTDIR', 127, /command not found: x/],
    ['EACCES', 126, /cannot be executed: x/],
    ['ENOEXEC', 126, /cannot be executed: x/],
    ['EAGAIN', 125, /could not be started/],
  ])('a start that fails with %s makes %i', (code, expected, words) => {
    const failure = startFailureOf('x', Object.assign(new Error('spawn x'), { code }))
    expect(failure).toEqual({ code: expected, message: expect.stringMatching(words) })
  })
})

describe('how Chromium is started', () => {
  const choices = { port: 0, profileDir: '/tmp/p', sandbox: true, shmBytes: 512 * 1024 * 1024 }

  test('with its sandbox unless there can be none', () => {
    expect(chromiumFlags(choices)).not.toContain('--no-sandbox')
    expect(chromiumFlags({ ...choices, sandbox: false })).toContain('--no-sandbox')
  })

  test('with files in place of shared memory where there is little of it', () => {
    expect(chromiumFlags(choices)).not.toContain('--disable-dev-shm-usage')
    expect(chromiumFlags({ ...choices, shmBytes: 64 * 1024 * 1024 })).toContain('--disable-dev-shm-usage')
  })

  test('never with DevTools for anybody but this machine', () => {
    const flags = chromiumFlags(choices).join(' ')
    expect(flags).toContain('--remote-debugging-port=0')
    expect(flags).not.toMatch(/remote-debugging-address|remote-allow-origins/)
  })
})

test('certificates are taken out of a bundle, keys and remarks are not', () => {
  const certificate = (body: string) => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`
  const bundle = `# Root A\n${certificate('AAA')}-----BEGIN PRIVATE KEY-----\nKEY\n-----END PRIVATE KEY-----\n\n${certificate('BBB')}`
  expect(pemCertificates(bundle)).toEqual([certificate('AAA'), certificate('BBB')])
  expect(pemCertificates('nothing here')).toEqual([])
})
