import { createConfig, lintFromString } from '@redocly/openapi-core'
import { describe, expect, it } from 'vitest'
import { openApiDocument } from '../../../worker/docs/openapi.ts'
import { docsPage } from '../../../worker/docs/page.ts'
import { ROUTES } from '../../../worker/routes/all.ts'

/** The linter needs Node, so these tests read what `/openapi.json` and `/docs` serve without a Worker around it. */
const document = openApiDocument(ROUTES)

describe('the OpenAPI document', () => {
  it('passes the linter', async () => {
    const config = await createConfig({
      extends: ['recommended'],
      rules: {
        // There is no licence to name: the API is reached, not distributed.
        'info-license': 'off',
        // The doorbell's only success is 101.
        'operation-2xx-response': 'off',
      },
    })
    const source = JSON.stringify(document)
    const problems = await lintFromString({ source, absoluteRef: '/openapi.json', config })
    expect(problems.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer])).toEqual(
      [],
    )
  })

  it('has every route, with its refusals as problem documents', () => {
    expect(document.openapi).toBe('3.1.0')
    for (const route of ROUTES) {
      const operation = document.paths?.[route.path]?.[route.method]
      expect(operation?.summary, `${route.method} ${route.path}`).toBeTruthy()
      for (const [status, response] of Object.entries(operation?.responses ?? {})) {
        if (status < '400') continue
        expect(Object.keys(response.content)).toEqual(['application/problem+json'])
      }
    }
  })
})

it('says how a log is followed', () => {
  const follow = document.paths?.['/api/v1/runs/{run_id}/logs']?.get
  expect(Object.keys(follow?.responses?.['200'].content)).toEqual(['text/plain', 'text/event-stream'])
  const said = new Map(
    follow?.parameters?.map(one => ('name' in one ? [one.name, one.description] : ['', ''])),
  )
  expect(said.get('follow')).toContain('without `end` is to be asked for again')
  expect(said.get('Last-Event-ID')).toContain('the stream goes on behind it')
})

describe('the page for people', () => {
  it('runs no script, loads nothing, and names every path', () => {
    const page = docsPage(document)
    expect(page).not.toMatch(/<script|<link|<img|https?:\/\/|@import|url\(/i)
    for (const { path } of ROUTES) expect(page).toContain(path)
  })
})
