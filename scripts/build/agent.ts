import { fileURLToPath } from 'node:url'
import { agentBundle } from './agent-bundle.ts'

/** The agent's file alone, for what makes its image. */
await agentBundle(fileURLToPath(new URL('../..', import.meta.url)))
