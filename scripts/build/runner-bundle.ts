import { readFileSync } from 'node:fs'
import path from 'node:path'
import { build, stop } from 'esbuild'

const ENTRY = 'runner/main.ts'
const OUTPUT = path.join('dist', 'runner', 'runner.mjs')

/**
 * The runner as one file that needs nothing but Node. Optional native parts of dependencies (ssh for remote
 * Engines, which the runner does not use) are left out.
 *
 * @returns the file's text
 */
export async function runnerBundle(root: string): Promise<string> {
  await build({
    absWorkingDir: root,
    entryPoints: [ENTRY],
    outfile: OUTPUT,
    bundle: true,
    format: 'esm',
    target: 'node24',
    platform: 'node',
    conditions: ['node', 'import'],
    external: ['cpu-features', '*.node'],
    // CommonJS dependencies call require for Node's own modules.
    banner: {
      js: "import { createRequire } from 'node:module';const require = createRequire(import.meta.url);",
    },
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
  })
  await stop()
  return readFileSync(path.join(root, OUTPUT), 'utf8')
}
