import { readFileSync } from 'node:fs'
import path from 'node:path'
import { build, stop } from 'esbuild'

const ENTRY = 'runner/main.ts'
const ABSENT = './scripts/build/absent.cjs'
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
    // Only for Engines over ssh and for BuildKit, which the runner does not use; they would be most of the file.
    alias: { ssh2: ABSENT, '@grpc/grpc-js': ABSENT, '@grpc/proto-loader': ABSENT },
    // CommonJS dependencies look for these.
    banner: {
      js: [
        "import { createRequire as certynCreateRequire } from 'node:module'",
        'const require = certynCreateRequire(import.meta.url)',
        'const __filename = import.meta.filename',
        'const __dirname = import.meta.dirname',
      ].join('\n'),
    },
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
  })
  await stop()
  return readFileSync(path.join(root, OUTPUT), 'utf8')
}
