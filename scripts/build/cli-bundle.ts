import { chmodSync } from 'node:fs'
import path from 'node:path'
import { nodeBundle } from './node-bundle.ts'

const OUTPUT = 'dist/cli/certyn.mjs'

/** An older one fails somewhere in a dependency, with a message that says nothing. */
const NEEDS_NODE = `if (Number.parseInt(process.versions.node) < 22) {
  process.stderr.write('certyn: needs Node 22.19 or newer, and this is ' + process.version + '\\n')
  process.exit(2)
}`

/**
 * The command-line client as one file that can be started by itself.
 *
 * @returns the file's text
 */
export async function cliBundle(root: string): Promise<string> {
  const text = await nodeBundle(root, { entry: 'cli/main.ts', output: OUTPUT, first: NEEDS_NODE })
  chmodSync(path.join(root, OUTPUT), 0o755)
  return text
}
