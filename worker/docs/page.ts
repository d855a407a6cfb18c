import { html, raw } from 'hono/html'
import type { OpenApiDocument } from './openapi.ts'

/**
 * The API for people: one server-rendered page made from the OpenAPI document. It runs no script and loads nothing,
 * so it reads the same behind any firewall.
 */
type Operation = NonNullable<NonNullable<OpenApiDocument['paths']>[string]['get']>
type Markup = ReturnType<typeof html>

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

const STYLE = `
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  code, pre { font: 14px/1.5 ui-monospace, monospace; }
  pre { overflow-x: auto; padding: .75rem; border: 1px solid #8884; border-radius: 6px; }
  details { border-bottom: 1px solid #8884; padding: .4rem 0; }
  summary { cursor: pointer; }
  .method { display: inline-block; min-width: 4.5rem; font-weight: 700; text-transform: uppercase; }
  :root { color-scheme: light dark; }
`

export function docsPage(document: OpenApiDocument): string {
  const operations = operationsOf(document)
  const tags = [...new Set(operations.map(({ tag }) => tag))]
  const schemas = Object.entries(document.components?.schemas ?? {})
  return String(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title}: API</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<h1>${document.info.title}</h1>
<p>${document.info.description} Version ${document.info.version}.
The same as a machine reads it: <a href="/openapi.json">/openapi.json</a>.</p>
<nav>${tags.map(tag => html`<a href="#${tag}">${tag}</a> `)}<a href="#schemas">Schemas</a></nav>
${tags.map(
  tag => html`<h2 id="${tag}">${tag}</h2>
${operations.filter(operation => operation.tag === tag).map(operationMarkup)}`,
)}
<h2 id="schemas">Schemas</h2>
${schemas.map(
  ([name, schema]) => html`<details id="schema-${name}"><summary><code>${name}</code></summary>
<pre>${JSON.stringify(schema, null, 2)}</pre></details>`,
)}
</body>
</html>`)
}

interface Listed {
  readonly tag: string
  readonly method: string
  readonly path: string
  readonly operation: Operation
}

function operationsOf(document: OpenApiDocument): Listed[] {
  return Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    METHODS.flatMap(method => {
      const operation = item[method]
      return operation === undefined ? [] : [{ tag: operation.tags?.[0] ?? '', method, path, operation }]
    }),
  )
}

function operationMarkup({ method, path, operation }: Listed): Markup {
  const parameters = operation.parameters ?? []
  return html`<details>
<summary><span class="method">${method}</span> <code>${path}</code> ${operation.summary}</summary>
<p>${operation.description}</p>
${parameters.length === 0 ? '' : html`<h4>Parameters</h4><pre>${JSON.stringify(parameters, null, 2)}</pre>`}
${
  operation.requestBody === undefined
    ? ''
    : html`<h4>Body</h4><pre>${JSON.stringify(operation.requestBody, null, 2)}</pre>`
}
<h4>Answers</h4>
<ul>${Object.entries(operation.responses ?? {}).map(
    ([status, response]) => html`<li><code>${status}</code> ${response.description}</li>`,
  )}</ul>
</details>
`
}
