import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

/** Whatever a text sends its reader to is there. */

const ROOT = new URL('../', import.meta.url).pathname
const TEXTS = globSync(['README.md', 'docs/*.md', 'deploy/**/*.*', '.github/**/*.*', '*/Dockerfile'], {
  cwd: ROOT,
})

test.each(TEXTS.filter(file => file.endsWith('.md')))('every link of %s leads somewhere', file => {
  const text = readFileSync(`${ROOT}${file}`, 'utf8')
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link ?? '')
  expect(links.filter(link => !/^https?:/.test(link) && !leads(file, link))).toEqual([])
})

test.each(TEXTS)('%s names no document that is not there', file => {
  const named = readFileSync(`${ROOT}${file}`, 'utf8').match(/\bdocs\/[\w-]+\.\w+/g) ?? []
  expect(named.filter(one => !existsSync(`${ROOT}${one}`))).toEqual([])
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
