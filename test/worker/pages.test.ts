import { describe, expect, test } from 'vitest'
import { mintId } from '../../worker/ids.ts'
import { call } from './client.ts'

const BROWSER = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

describe('an address that names nothing', () => {
  test.each(['/live/', '/live/garbage', '/live', '/runs/nope', '/environments/runners/nope', '/nowhere'])(
    'is told by a page to whoever opens %s, and by a problem to a program',
    async path => {
      const page = await call('GET', path, { headers: BROWSER })
      expect([page.status, page.text]).toEqual([404, 'an asset'])
      expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
      const problem = await call('GET', path)
      expect([problem.status, problem.headers.get('content-type')]).toEqual([404, 'application/problem+json'])
    },
  )

  test.each([
    ['GET', '/api/v1/nowhere', 404],
    ['GET', `/api/v1/runs/${mintId('run')}`, 401],
    ['GET', '/runner/v1/nowhere', 404],
    ['GET', '/assets/', 404],
    ['POST', '/live/garbage', 405],
    ['POST', '/nowhere', 404],
  ])('stays a problem for %s %s, whatever is accepted', async (method, path, status) => {
    const answer = await call(method, path, { headers: BROWSER })
    expect([answer.status, answer.headers.get('content-type')]).toEqual([status, 'application/problem+json'])
  })
})
