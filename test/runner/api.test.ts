import { expect, test } from 'vitest'
import { ERROR_CODES, ERRORS } from '../../protocol/errors.ts'
import { SyncResponse } from '../../protocol/runner-api.ts'
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, backoffMs } from '../../runner/api/backoff.ts'
import { classify } from '../../runner/api/classify.ts'
import { type ApiFailure, address, interpret } from '../../runner/api/client.ts'
import { aReply } from './support/factories.ts'

test('backoff grows to its cap, takes anything below it, and never goes under Retry-After', () => {
  const most = () => 1
  expect([1, 2, 3, 4].map(n => backoffMs(n, 0, most))).toEqual([1, 2, 4, 8].map(n => n * BACKOFF_BASE_MS))
  expect(backoffMs(1000, 0, most)).toBe(BACKOFF_CAP_MS)
  expect(backoffMs(3, 0, () => 0)).toBe(0)
  expect(backoffMs(3, 60_000, () => 0)).toBe(60_000)
})

const FINAL: Record<string, string> = {
  unauthenticated: 'fatal',
  token_expired: 'fatal',
  token_revoked: 'fatal',
  token_used_up: 'fatal',
  unsupported_protocol: 'fatal',
  boot_superseded: 'stale',
}
test.each(ERROR_CODES)('a refusal with %s', code => {
  const { status, title } = ERRORS[code]
  const text = JSON.stringify({ type: 'about:blank', title, status, code, detail: 'd', request_id: 'r' })
  const result = interpret(status, {}, text, SyncResponse)
  const failure = (result as { failure: ApiFailure }).failure
  expect(failure.kind).toBe('refused')
  expect(classify(failure)).toBe(FINAL[code] ?? 'retryable')
})

test.each([
  [401, '<html>sign in</html>', /401, the body is not valid JSON/],
  [404, '{"error": "nope"}', /not this API's/],
  [302, '', /redirect/],
  [200, 'pong', /not valid JSON/],
  [200, JSON.stringify({ ...aReply(), lease_ttl_ms: 'soon' }), /lease_ttl_ms/],
  [
    200,
    JSON.stringify({ ...aReply(), leases: [{ session_id: 'x', verdict: 'keep' }] }),
    /leases\.0\.session_id/,
  ],
  [200, '['.repeat(50) + ']'.repeat(50), /nested deeper/],
])(
  'an answer %i that is not the control plane’s own is retried and says what is wrong',
  (status, text, expected) => {
    const result = interpret(status, {}, text, SyncResponse)
    const failure = (result as { failure: ApiFailure }).failure
    expect(failure).toMatchObject({ kind: 'unexpected', detail: expect.stringMatching(expected) })
    expect(classify(failure)).toBe('retryable')
  },
)

test('fields of a newer control plane are no error', () => {
  const text = JSON.stringify({ ...aReply(), novelty: { deep: true } })
  expect(interpret(200, {}, text, SyncResponse).ok).toBe(true)
})

test('Retry-After is a floor in seconds', () => {
  const result = interpret(503, { 'retry-after': '7' }, '', SyncResponse)
  expect(result).toMatchObject({ failure: { retryAfterMs: 7000 } })
})

test('a control plane under a path keeps its path', () => {
  expect(address(new URL('https://h.example/certyn/'), '/healthz').href).toBe(
    'https://h.example/certyn/healthz',
  )
  expect(address(new URL('https://h.example'), '/healthz').href).toBe('https://h.example/healthz')
})
