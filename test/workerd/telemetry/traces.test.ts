import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { activeTraceparent } from '../../../worker/telemetry/active-span.ts'
import { isTraced, Traces } from '../../../worker/telemetry/traces.ts'
import { BackEnd } from './back-end.ts'

/** The library sets itself up once in an isolate, so all of these are of one set-up: nothing is kept. */
const backEnd = new BackEnd('of-traces')
const traces = new Traces({ endpoint: backEnd.endpoint, headers: {} }, 0)

async function traced(headers: Record<string, string>): Promise<string | undefined> {
  const context = createExecutionContext()
  const request = new Request('https://runners.example/api/v1/me', { headers })
  let traceparent: string | undefined
  const handle = async () => {
    traceparent = activeTraceparent()
    return new Response('answered')
  }
  const response = await traces.trace(request as Parameters<Traces['trace']>[0], context, handle)
  expect(await response.text()).toBe('answered')
  await waitOnExecutionContext(context)
  return traceparent
}

test('a caller goes on with its trace, but cannot have it kept where the operator keeps none', async () => {
  const traceId = 'ab'.repeat(16)
  const traceparent = await traced({ traceparent: `00-${traceId}-${'cd'.repeat(8)}-01` })
  expect(traceparent).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-0[02]$`))
  expect((await backEnd.seen()).requests).toBe(0)
})

test('what is no traceparent begins a trace', async () => {
  expect(await traced({ traceparent: 'nonsense' })).toMatch(/^00-(?!ab)[0-9a-f]{32}-[0-9a-f]{16}-0[02]$/)
})

test('what a handler throws is thrown on', async () => {
  const context = createExecutionContext()
  const request = new Request('https://runners.example/api/v1/me') as Parameters<Traces['trace']>[0]
  const failing = () => Promise.reject(new Error('of the handler'))
  await expect(traces.trace(request, context, failing)).rejects.toThrow('of the handler')
  await waitOnExecutionContext(context)
})

test.for([
  ['/api/v1/runs', true],
  ['/runner/v1/register', false],
  ['/healthz', false],
  ['/', false],
] as const)('%s is traced: %s', ([path, expected]) => {
  expect(isTraced(new Request(`https://runners.example${path}`))).toBe(expected)
})
