import { readFileSync } from 'node:fs'
import path from 'node:path'
import { type BuildOptions, build, stop } from 'esbuild'

export interface NodeProgram {
  /** Paths inside the repository. */
  readonly entry: string
  readonly output: string
  readonly alias?: BuildOptions['alias']
  /** Statements that come before the program and everything it is made of. */
  readonly first?: string
}

/**
 * A program as one file that needs nothing but Node.
 *
 * @returns the file's text
 */
export async function nodeBundle(
  root: string,
  { entry, output, alias = {}, first = '' }: NodeProgram,
): Promise<string> {
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: output,
    bundle: true,
    format: 'esm',
    target: 'node24',
    platform: 'node',
    conditions: ['node', 'import'],
    alias,
    // CommonJS dependencies look for these.
    banner: {
      js: [
        "import { createRequire as certynCreateRequire } from 'node:module'",
        'const require = certynCreateRequire(import.meta.url)',
        'const __filename = import.meta.filename',
        'const __dirname = import.meta.dirname',
        first,
      ].join('\n'),
    },
    keepNames: true,
    legalComments: 'none',
    logLevel: 'warning',
  })
  await stop()
  return readFileSync(path.join(root, output), 'utf8')
}
