import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { workerBundle } from '../control-plane/worker-bundle.ts'
import { agentBundle } from './agent-bundle.ts'
import { cliBundle } from './cli-bundle.ts'
import { buildDashboard } from './dashboard.ts'
import { runnerBundle } from './runner-bundle.ts'

/** Everything that is built, into dist/: the Worker for the embedded control plane, the runner's, the agent's and the client's file. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const kib = (text: string) => `${Math.round(Buffer.byteLength(text) / 1024)} KiB`
console.log(`dist/worker/index.js      ${kib(await workerBundle(ROOT))}`)
console.log(`dist/dashboard            ${path.relative(ROOT, await buildDashboard(ROOT))}`)
console.log(`dist/runner/runner.mjs    ${kib(await runnerBundle(ROOT))}`)
console.log(`dist/agent/agent.mjs      ${kib(await agentBundle(ROOT))}`)
console.log(`dist/cli/certyn.mjs       ${kib(await cliBundle(ROOT))}`)
