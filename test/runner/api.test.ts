import { expect, test } from 'vitest'
import { ERROR_CODES, ERRORS } from '../../protocol/errors.ts'
import { SyncResponse } from '../../protocol/runner-api.ts'
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, backoffMs, floorMs } from '../../runner/api/backoff.ts'
import { classify, explain } from '../../runner/api/classify.ts'
import { ApiClient, type ApiFailure, address, interpret } from '../../runner/api/client.ts'
import { SyncReply } from '../../runner/api/sync-reply.ts'
import { reasonOf } from '../../runner/log.ts'
import { anOffer, aReply, aStop, aVerdict, sessionId } from './support/factories.ts'

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
  [400, '<center>The plain HTTP request was sent to HTTPS port</center>', /TLS only.*https:\/\//],
  [400, 'Client sent an HTTP request to an HTTPS server.\n', /TLS only.*https:\/\//],
  [400, "You're speaking plain HTTP to an SSL-enabled server port.", /TLS only.*https:\/\//],
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

test('what this release does not understand is left out of a sync’s reply by itself', () => {
  const [kept, odd] = [anOffer('a'), { ...anOffer('b'), job: { image: 1 } }]
  const reply = {
    ...aReply({ leases: [aVerdict('a', 'keep')] }),
    offers: [odd, kept],
    commands: [{ ...aStop('a'), type: 'paint_it_blue' }, aStop('b')],
  }
  const leases = [{ session_id: sessionId('c'), verdict: 'move' }, ...reply.leases]
  expect(interpret(200, {}, JSON.stringify({ ...reply, leases }), SyncReply)).toEqual({
    ok: true,
    value: {
      ...reply,
      offers: [kept],
      commands: [aStop('b')],
      ignored: [
        expect.stringMatching(/^offers\.0\.job\./),
        expect.stringMatching(/^commands\.0\.type: /),
        expect.stringMatching(/^leases\.0\.verdict: /),
      ],
    },
  })
})

test('Retry-After is a floor in seconds where this API asks for it, and nothing where a proxy does', () => {
  const { status, title } = ERRORS.overloaded
  const problem = { type: 'about:blank', title, status, code: 'overloaded', detail: 'd', request_id: 'r' }
  const own = interpret(503, { 'retry-after': '7' }, JSON.stringify(problem), SyncResponse)
  expect(own).toMatchObject({ failure: { kind: 'refused', retryAfterMs: 7000 } })
  for (const text of ['', '{"error":"busy"}']) {
    const other = interpret(503, { 'retry-after': '3600' }, text, SyncResponse)
    expect(other).toMatchObject({ failure: { kind: 'unexpected', retryAfterMs: 0 } })
  }
})

test.each([
  { asked: 3_600_000, leaseTtlMs: null, floor: 60_000 },
  { asked: 3_600_000, leaseTtlMs: 20_000, floor: 5_000 },
  { asked: 3_600_000, leaseTtlMs: Number.POSITIVE_INFINITY, floor: BACKOFF_CAP_MS },
  { asked: 2_000, leaseTtlMs: 20_000, floor: 2_000 },
])(
  'of $asked ms asked for, $floor are heeded with leases of $leaseTtlMs ms',
  ({ asked, leaseTtlMs, floor }) => {
    expect(floorMs(asked, leaseTtlMs)).toBe(floor)
  },
)

test('a time limit that no timer takes is a failed call, not an exception', async () => {
  const url = new URL('http://127.0.0.1:1')
  const api = new ApiClient({ CONTROL_PLANE_URL: url, HTTPS_PROXY: null, NO_PROXY: null })
  const who = { poolId: 'p', runnerId: 'r', credential: 'c' }
  const body = {} as Parameters<ApiClient['sync']>[1]
  expect(await api.sync(who, body, undefined, 1250.25)).toMatchObject({ failure: { kind: 'unreachable' } })
  await api.close()
})

test.each([
  ['self-signed certificate', /NODE_EXTRA_CA_CERTS/],
  ['unable to get local issuer certificate', /NODE_EXTRA_CA_CERTS/],
  ['unable to verify the first certificate', /NODE_EXTRA_CA_CERTS/],
  ['getaddrinfo ENOTFOUND plane.example', /could not be resolved: check this host’s DNS/],
  ['getaddrinfo EAI_AGAIN plane.example', /could not be resolved: check this host’s DNS/],
  ['connect ECONNREFUSED 127.0.0.1:1', /outbound HTTPS/],
  ['connect ECONNREFUSED 127.0.0.1:1', /nothing listens there: check that the control plane runs/],
  ['connect EHOSTUNREACH 10.0.0.1:443', /no route/],
  ['Connect Timeout Error', /a firewall may drop/],
  ['no answer within 10000 ms', /a firewall may drop/],
  ['read ECONNRESET', /connection was cut/],
  ['certificate has expired', /renew it/],
  ['something else', /check CONTROL_PLANE_URL/],
])('"%s" is told with its remedy', (detail, remedy) => {
  expect(explain({ kind: 'unreachable', detail })).toMatch(remedy)
})

test('a control plane under a path keeps its path', () => {
  expect(address(new URL('https://h.example/certyn/'), '/healthz').href).toBe(
    'https://h.example/certyn/healthz',
  )
  expect(address(new URL('https://h.example'), '/healthz').href).toBe('https://h.example/healthz')
})

test('an address that is refused in both families is told as each of them', async () => {
  const refusals = ['::1', '127.0.0.1'].map(at => new Error(`connect ECONNREFUSED ${at}:1`))
  expect(reasonOf(new AggregateError(refusals))).toBe(
    'connect ECONNREFUSED ::1:1, connect ECONNREFUSED 127.0.0.1:1',
  )
})
