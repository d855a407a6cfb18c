import { chmodSync } from 'node:fs'
import path from 'node:path'
import { nodeBundle } from './node-bundle.ts'

const OUTPUT = 'dist/cli/certyn.mjs'

/**
 * The command-line client as one file that can be started by itself.
 *
 * @returns the file's text
 */
export async function cliBundle(root: string): Promise<string> {
  const text = await nodeBundle(root, { entry: 'cli/main.ts', output: OUTPUT })
  chmodSync(path.join(root, OUTPUT), 0o755)
  return text
}
