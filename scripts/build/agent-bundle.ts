import { nodeBundle } from './node-bundle.ts'

/**
 * The agent as one file, for its image.
 *
 * @returns the file's text
 */
export async function agentBundle(root: string): Promise<string> {
  return await nodeBundle(root, { entry: 'agent/main.ts', output: 'dist/agent/agent.mjs' })
}
