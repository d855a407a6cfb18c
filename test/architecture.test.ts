import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { SETTING_NAMES } from '../durable-objects/settings.ts'
import { WORKER } from '../scripts/control-plane/runtime.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Imports run one way. What a folder may import of ours, beside itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  'durable-objects': ['protocol'],
  worker: ['protocol', 'durable-objects'],
  runner: ['protocol'],
  agent: ['protocol'],
  dashboard: ['protocol'],
  cli: ['protocol'],
}
/** Runs the same in the object, in the simulator and in tests, so it may know neither runtime nor storage. */
const PURE = 'durable-objects/runner-pool/core'

function sources(folder: string): string[] {
  const absolute = path.join(ROOT, folder)
  if (!existsSync(absolute)) return []
  return readdirSync(absolute, { recursive: true, encoding: 'utf8' })
    .filter(file => /\.tsx?$/.test(file) && !file.includes('node_modules'))
    .map(file => path.join(folder, file))
}

/** @param typesToo whether imports that vanish when types are stripped count as well */
function importsOf(file: string, typesToo = true): string[] {
  const source = readFileSync(path.join(ROOT, file), 'utf8')
  const text = typesToo ? source : source.replaceAll(/^(?:import|export) type\b[^;]*?from\s*'[^']+'/gm, '')
  const found = text.matchAll(/(?:\bfrom|\bimport|\bimport\()\s*['"]([^'"]+)['"]/g)
  return [...found].map(match => match[1] ?? '')
}

/** Path inside the repository of a relative import; null for a package. */
function target(file: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null
  return path.relative(ROOT, path.resolve(ROOT, path.dirname(file), specifier))
}

describe('imports run one way', () => {
  test.each(Object.entries(MAY_IMPORT))('%s imports of ours only %j', (folder, allowed) => {
    const wrong = sources(folder).flatMap(file =>
      importsOf(file).flatMap(specifier => {
        const to = target(file, specifier)
        const top = to?.split(path.sep)[0]
        return top === undefined || top === folder || allowed.includes(top) ? [] : [`${file} imports ${to}`]
      }),
    )
    expect(wrong).toEqual([])
  })

  test('what the daemon is made of knows nothing of the daemon, and what all of it shares nothing of the parts', () => {
    const parts = ['api', 'collect', 'executors', 'relay', 'state', 'telemetry'].map(
      name => `runner/${name}/`,
    )
    const above = ['runner/daemon/', 'runner/commands/', 'runner/doctor/']
    const wrong = sources('runner').flatMap(file => {
      const isPart = parts.some(part => file.startsWith(part))
      const isShared = path.dirname(file) === 'runner' && file !== 'runner/main.ts'
      const forbidden = [...(isPart || isShared ? above : []), ...(isShared ? parts : [])]
      return importsOf(file)
        .map(specifier => target(file, specifier) ?? '')
        .filter(to => forbidden.some(folder => to.startsWith(folder)))
        .map(to => `${file} imports ${to}`)
    })
    expect(wrong).toEqual([])
  })

  test('the lease core imports no runtime, no storage and nothing outside itself but the contract', () => {
    const files = sources(PURE)
    expect(files.length).toBeGreaterThan(0)
    const wrong = files.flatMap(file =>
      importsOf(file, false).flatMap(specifier => {
        const to = target(file, specifier)
        const fine =
          to !== null &&
          (to.startsWith(PURE) || to.startsWith('protocol') || to === 'durable-objects/settings.ts')
        return fine ? [] : [`${file} imports ${specifier}`]
      }),
    )
    expect(wrong).toEqual([])
  })

  test('the contract depends on zod alone', () => {
    const packages = sources('protocol')
      .flatMap(file => importsOf(file))
      .filter(specifier => !specifier.startsWith('.'))
    expect(new Set(packages)).toEqual(new Set(['zod']))
  })
})

describe('wrangler.toml', () => {
  const toml = readFileSync(path.join(ROOT, 'wrangler.toml'), 'utf8')

  test('runs the Worker as the embedded control plane does', () => {
    expect(toml).toContain(`name = "${WORKER.name}"`)
    expect(toml).toContain(`compatibility_date = "${WORKER.compatibilityDate}"`)
    expect(toml).toContain(
      `compatibility_flags = [${WORKER.compatibilityFlags.map(flag => `"${flag}"`).join(', ')}]`,
    )
    for (const [name, limit] of Object.entries(WORKER.limits)) {
      expect(toml).toMatch(
        new RegExp(
          `name = "${name}"\\nnamespace_id = "\\d+"\\nsimple = \\{ limit = ${limit}, period = 60 \\}`,
        ),
      )
    }
  })

  test('names every setting once and holds no secret', () => {
    const vars = /\[vars\]\n([^[]*)/.exec(toml)?.[1] ?? ''
    const names = [...vars.matchAll(/^(\w+) = /gm)].map(match => match[1] ?? '')
    const secrets = ['OPERATOR_KEY', 'OTEL_EXPORTER_OTLP_HEADERS']
    expect([...names].sort()).toEqual(SETTING_NAMES.filter(name => !secrets.includes(name)).sort())
  })

  test('says as its defaults what the settings take for nothing', async () => {
    const { parseSettings } = await import('../durable-objects/settings.ts')
    const vars = Object.fromEntries(
      [...toml.matchAll(/^(\w+__\w+) = "(.*)"$/gm)].map(match => [match[1], match[2]]),
    )
    expect(parseSettings(vars)).toEqual(parseSettings({}))
  })
})

test('every npm script that starts a program replaces its shell, so that signals reach the program', () => {
  const { scripts } = z
    .object({ scripts: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')))
  for (const [name, script] of Object.entries(scripts)) {
    if (script.includes('node scripts/')) expect(script, name).toMatch(/^exec node scripts\/[\w-]+\.mjs$/)
  }
})
