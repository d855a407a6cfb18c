import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildDashboard } from '../../scripts/build/dashboard.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const FIRST_LOAD_BYTES = 150 * 1024

describe('the built dashboard', () => {
  let assets: string
  beforeAll(async () => {
    assets = path.join(await buildDashboard(ROOT), 'assets')
  })

  const read = (file: string) => readFileSync(path.join(assets, file), 'utf8')

  /** What is loaded with it at once: static imports, and theirs. */
  function withImports(file: string, found = new Set<string>()): ReadonlySet<string> {
    if (found.has(file)) return found
    found.add(file)
    for (const [, imported] of read(file).matchAll(/(?:from|import)"\.\/([\w-]+\.js)"/g)) {
      if (imported !== undefined) withImports(imported, found)
    }
    return found
  }

  test('loads less than 150 KB at first, with its style and its first page', () => {
    const scripts = [...withImports('app.js')]
    const sizes = [...scripts, 'app.css'].map(file => gzipSync(read(file)).length)
    const index = gzipSync(readFileSync(path.join(assets, '../index.html'))).length
    const total = sizes.reduce((sum, size) => sum + size, index)
    console.log(`first load: ${total} bytes of gzip in ${sizes.length + 1} files`)
    expect(scripts.length).toBeGreaterThan(1)
    expect(total).toBeLessThan(FIRST_LOAD_BYTES)
  })

  test.each([
    ['the live view', 'certyn.stream.v1'],
    ['the chart', 'u-over'],
  ])('loads %s only when it is looked at', (_what, mark) => {
    const holders = readdirSync(assets).filter(file => file.endsWith('.js') && read(file).includes(mark))
    expect(holders).not.toEqual([])
    const first = withImports('app.js')
    expect(holders.filter(file => first.has(file))).toEqual([])
  })

  test('asks nobody else for anything', () => {
    const files = readdirSync(assets).map(file => read(file))
    const addresses = files.flatMap(text => text.match(/https?:\/\/[\w.-]+/g) ?? [])
    // Names of namespaces and schemas, and React's page on its errors: text, which is never asked for.
    const names = [
      'http://www.w3.org',
      'http://json-schema.org',
      'https://json-schema.org',
      'https://react.dev',
    ]
    expect(new Set(addresses)).toEqual(new Set(names))
  })
})
