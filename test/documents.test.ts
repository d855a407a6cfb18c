import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { BLANK_CAUSES } from '../protocol/stream.ts'
import { Policy } from '../runner/policy.ts'

/** Whatever a text sends its reader to is there. */

const ROOT = new URL('../', import.meta.url).pathname
const TEXTS = globSync(
  ['README.md', 'CONTRIBUTING.md', 'docs/*.md', 'deploy/**/*.*', '.github/**/*.*', '*/Dockerfile'],
  {
    cwd: ROOT,
  },
)

test.each(TEXTS.filter(file => file.endsWith('.md')))('every link of %s leads somewhere', file => {
  const text = readFileSync(`${ROOT}${file}`, 'utf8')
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link ?? '')
  expect(links.filter(link => !/^https?:/.test(link) && !leads(file, link))).toEqual([])
})

test.each(TEXTS)('%s names no document that is not there', file => {
  const named = readFileSync(`${ROOT}${file}`, 'utf8').match(/\bdocs\/[\w-]+\.\w+/g) ?? []
  expect(named.filter(one => !existsSync(`${ROOT}${one}`))).toEqual([])
})

test('docs/agent-images.md has every cause of a blank picture, in the words that viewers are told', () => {
  const text = readFileSync(`${ROOT}docs/agent-images.md`, 'utf8')
  const rows = [...text.matchAll(/^ +\| `(\w+)` +\| (.*?) +\|$/gm)].map(([, cause, words]) => ({
    cause,
    words,
  }))
  expect(rows.map(({ cause }) => cause).sort()).toEqual([...BLANK_CAUSES].sort())
  const told = readFileSync(`${ROOT}durable-objects/session-relay/core/joint.ts`, 'utf8').replaceAll(
    /\s+/g,
    ' ',
  )
  for (const { cause, words } of rows) expect(told).toContain(`${cause}: '${words}'`)
})

/** Of the kind that a text in backticks names by its whole path. */
const FILE =
  /`((?:agent|bench|cli|deploy|durable-objects|migrations|protocol|runner|scripts|test|worker)\/[\w./-]+\.\w+)`/g

test.each(TEXTS)('%s names no file of the code that is not there', file => {
  const named = [...readFileSync(`${ROOT}${file}`, 'utf8').matchAll(FILE)].map(([, name]) => name)
  expect(named.filter(one => !existsSync(`${ROOT}${one}`))).toEqual([])
})

test('the policy file that docs/security-model.md shows is one', () => {
  const text = readFileSync(`${ROOT}docs/security-model.md`, 'utf8')
  const [, shown = ''] = /```json\n([\s\S]*?)```/.exec(text) ?? []
  expect(Policy.parse(JSON.parse(shown)).allowed_images).toHaveLength(2)
})

function leads(from: string, link: string): boolean {
  const [to = '', heading] = link.split('#')
  const target = to === '' ? `${ROOT}${from}` : path.join(ROOT, path.dirname(from), to)
  if (!existsSync(target)) return false
  return heading === undefined || headingsOf(readFileSync(target, 'utf8')).includes(heading)
}

/** As GitHub makes addresses of them. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
