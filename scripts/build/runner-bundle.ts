import { nodeBundle } from './node-bundle.ts'

const ABSENT = './scripts/build/absent.cjs'

/**
 * The runner as one file. Optional native parts of dependencies (ssh for remote Engines, which the runner does not
 * use) are left out.
 *
 * @returns the file's text
 */
export async function runnerBundle(root: string): Promise<string> {
  return await nodeBundle(root, {
    entry: 'runner/main.ts',
    output: 'dist/runner/runner.mjs',
    // Only for Engines over ssh and for BuildKit, which the runner does not use; they would be most of the file.
    alias: { ssh2: ABSENT, '@grpc/grpc-js': ABSENT, '@grpc/proto-loader': ABSENT },
  })
}
