import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { build, stop } from 'esbuild'

/**
 * The Worker as one module. The last result is kept in dist/ with the hashes of everything it was made of,
 * and is used again while those are unchanged.
 */
const ENTRY = 'worker/index.ts'
const FOLDER = path.join('dist', 'worker')

interface Record {
  readonly lockfile: string
  readonly inputs: Readonly<{ [file: string]: string }>
}

/** @returns the module's text */
export async function workerBundle(root: string): Promise<string> {
  return cached(root) ?? (await bundle(root))
}

async function bundle(root: string): Promise<string> {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [ENTRY],
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    target: 'es2024',
    platform: 'browser',
    mainFields: ['browser', 'module', 'main'],
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
    define: { 'process.env.NODE_ENV': '"production"' },
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
  })
  // esbuild keeps a process for the next build; there is none.
  await stop()
  const text = result.outputFiles[0]?.text
  if (text === undefined) throw new Error(`building ${ENTRY} gave no output`)
  const own = Object.keys(result.metafile.inputs).filter(file => !file.startsWith('node_modules/'))
  const record: Record = {
    lockfile: hashOf(path.join(root, 'package-lock.json')),
    inputs: Object.fromEntries(own.map(file => [file, hashOf(path.join(root, file))])),
  }
  store(path.join(root, FOLDER, 'index.js'), text)
  store(path.join(root, FOLDER, 'inputs.json'), JSON.stringify({ ...record, output: sha256(text) }))
  return text
}

function cached(root: string): string | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(path.join(root, FOLDER, 'inputs.json'), 'utf8'))
    if (!isRecord(record)) return undefined
    if (record.lockfile !== hashOf(path.join(root, 'package-lock.json'))) return undefined
    const changed = Object.entries(record.inputs).some(
      ([file, hash]) => hashOf(path.join(root, file)) !== hash,
    )
    if (changed) return undefined
    const text = readFileSync(path.join(root, FOLDER, 'index.js'), 'utf8')
    return sha256(text) === record.output ? text : undefined
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is Record & { output: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'inputs' in value &&
    'lockfile' in value &&
    'output' in value
  )
}

function hashOf(file: string): string {
  return sha256(readFileSync(file))
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Several processes may build at once; each file is whole whichever wins. */
function store(file: string, text: string): void {
  mkdirSync(path.dirname(file), { recursive: true })
  const temporary = `${file}.${randomUUID()}`
  writeFileSync(temporary, text)
  renameSync(temporary, file)
}
