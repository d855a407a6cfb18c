import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { SETTING_NAMES as CLIENT } from '../cli/settings.ts'
import { DOCUMENTS } from '../scripts/docs/documents.ts'
import { withGenerated } from '../scripts/docs/generated.ts'
import { PARTS } from '../scripts/docs/settings-reference.ts'

/** A setting that the code reads is in a document, and the documents name none that nobody reads. */

const ROOT = new URL('../', import.meta.url).pathname
const read = (file: string) => readFileSync(`${ROOT}${file}`, 'utf8')

const REFERENCE = read('docs/settings.md')
const IN_SCHEMAS = new Set([...PARTS.flatMap(part => Object.keys(part.settings)), ...CLIENT])

/** Variables that are nobody's to set, or that a tool of ours gets from another. */
const NOT_SETTINGS: Readonly<Record<string, string>> = {
  CERTYN_LIFELINE_FD: 'scripts/launch gives it to the process it starts',
  CERTYN_WORKERD: 'scripts/control-plane gives it to the runtime it starts',
  MINIFLARE_WORKERD_PATH: 'miniflare’s own',
  BENCH_STALL_SECONDS: 'shortens a benchmark while it is worked on',
  SAMPLE_SECONDS: '`npm run up` gives it to its sample',
  INIT_CWD: 'npm’s own: the folder that a command was typed in',
  NODE_ENV: 'decided when the code is bundled',
  PATH: 'the system’s',
}

test.each(DOCUMENTS.map(({ file, generate }) => [file.pathname.slice(ROOT.length), file, generate] as const))(
  '%s is what the code says; `npm run docs` brings it up to date',
  (_, file, generate) => {
    const document = readFileSync(file, 'utf8')
    expect(document).toBe(withGenerated(document, generate()))
  },
)

test('every setting in the schemas is a row of the reference, in the part it belongs to, and the reverse', () => {
  for (const { heading, settings } of PARTS) {
    const section = REFERENCE.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
    const rows = [...section.matchAll(/^\| `(\w+)`/gm)].map(match => match[1])
    expect(rows).toEqual(Object.keys(settings))
  }
})

test('every variable that the code reads is in the reference', () => {
  const inReference = (name: string) => REFERENCE.includes(`\`${name}\``) || CLIENT.includes(name)
  const readSomewhere = variablesRead()
  expect(readSomewhere).toEqual(expect.arrayContaining(['OPERATOR_KEY', 'CLOUDFLARE_ACCESS_CLIENT_ID', 'CI']))
  expect(readSomewhere.filter(name => !inReference(name) && !(name in NOT_SETTINGS))).toEqual([])
})

test('every variable that a document names is one that somebody reads', () => {
  const given =
    /\b(?:(?:Features|SelfHosted|Docker|Access|RateLimits|Deploy)__\w+|(?:RUNNER|CERTYN)_[A-Z_]+)\b/g
  const known = new Set([...IN_SCHEMAS, ...variablesRead(), ...variablesOfTests(), ...variablesGiven()])
  for (const file of globSync(['README.md', 'CONTRIBUTING.md', 'docs/*.md', 'deploy/**/*.*'], {
    cwd: ROOT,
  })) {
    const named = [...new Set(read(file).match(given) ?? [])]
    expect({ file, unknown: named.filter(name => !known.has(name)) }).toEqual({ file, unknown: [] })
  }
})

/** By name: `process.env.X`, `env.X`, and names taken out of `process.env` at once. */
function variablesRead(): string[] {
  const code = globSync(['{agent,bench,cli,runner,worker,durable-objects,scripts}/**/*.{ts,mjs,cjs}'], {
    cwd: ROOT,
  })
  const names = code.flatMap(file => {
    const text = read(file)
    const bindings =
      file.startsWith('worker/') || file.startsWith('durable-objects/') || file.startsWith('bench/')
    const one = bindings ? /process\.env\.([A-Z]\w+)/g : /\b(?:process\.)?env\.([A-Z]\w+)/g
    const several = [...text.matchAll(/\{([^{}]*)\} = process\.env\b/g)]
    return [
      ...[...text.matchAll(one)].map(match => match[1] ?? ''),
      ...several.flatMap(match => match[1]?.match(/\b[A-Z][A-Z_]{2,}\b/g) ?? []),
    ]
  })
  return [...new Set(names)]
}

function variablesOfTests(): string[] {
  const files = globSync(['test/**/*.ts', 'scripts/images/*.sh', '.ci/run', '.github/**/*.*'], { cwd: ROOT })
  return files.flatMap(file => read(file).match(/\b(?:RUNNER|CERTYN)_[A-Z_]+\b/g) ?? [])
}

/** Those that a session is given, and those that the files of deploy/ take for themselves. */
function variablesGiven(): string[] {
  const files = globSync(
    ['runner/executors/**/*.ts', 'runner/session-types.ts', 'agent/main.ts', 'deploy/**/*.yml'],
    {
      cwd: ROOT,
    },
  )
  return files.flatMap(file => read(file).match(/\bCERTYN_[A-Z_]+\b/g) ?? [])
}
