import { globSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { FAILURE_CODES } from '../protocol/run.ts'

/** Whoever looks up what a program said finds it in docs/troubleshooting.md as the program says it. */

const ROOT = new URL('../', import.meta.url).pathname
const DOCUMENT = readFileSync(`${ROOT}docs/troubleshooting.md`, 'utf8').replaceAll(
  /^ *```[\s\S]*?^ *```$/gm,
  '',
)
const SOURCE = globSync('{protocol,runner,worker,durable-objects,cli,scripts,dashboard}/**/*.{ts,tsx}', {
  cwd: ROOT,
  exclude: ['dashboard/node_modules/**', 'scripts/docs/**'],
})
  .map(file => readFileSync(`${ROOT}${file}`, 'utf8'))
  .join('\n')

const SPANS = [...new Set([...DOCUMENT.matchAll(/`([^`]+)`/g)].map(match => match[1] ?? ''))]
const COMMAND = /^(?:certyn|docker|npm|npx|journalctl) /

const messages = SPANS.filter(span => span.split(' ').length > 2 && !COMMAND.test(span))
const codes = SPANS.filter(span => /^[a-z]+(?:_[a-z]+)+(?::<key>)?$/.test(span))

/** What is put together when it is said: the parts that are always the same, and at least a few letters of them. */
const TEMPLATES = [...SOURCE.matchAll(/`([^`\\\n]*\$\{[^`\n]*)`/g)]
  .map(match => (match[1] ?? '').split(/\$\{[^}]*\}/))
  .filter(parts => parts.join('').length > 7)
  .map(parts => new RegExp(`^${parts.map(escaped).join('.+')}$`))

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
}

function isSaid(quote: string): boolean {
  const fixed = quote.replace(/^\.\.\. /, '').replace(':<key>', ':')
  return SOURCE.includes(fixed) || TEMPLATES.some(template => template.test(quote))
}

describe('docs/troubleshooting.md', () => {
  test('quotes only what the code says', () => {
    expect(messages.length).toBeGreaterThan(25)
    expect(codes.length).toBeGreaterThan(30)
    expect([...messages, ...codes].filter(quote => !isSaid(quote))).toEqual([])
  })

  test('has every way a run can fail but by its test', () => {
    const ofTheTest = ['non_zero_exit', 'timeout', 'internal']
    const expected = FAILURE_CODES.filter(code => !ofTheTest.includes(code))
    expect(expected.filter(code => !codes.includes(code) && !SPANS.includes(code))).toEqual([])
  })

  test.each([
    'Runner does not appear online',
    'Runs stay queued',
    'Live view cannot connect',
    'Sync failures',
    'Relay timeouts',
    'Registration failures',
    'Leases expiring',
    'No runner online',
    'Oldest wait',
    'Version behind',
  ])('has the place that alerts and pages lead to: %s', heading => {
    expect(DOCUMENT).toMatch(new RegExp(`^#{2,3} ${heading}$`, 'm'))
  })
})
