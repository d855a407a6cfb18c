import { fileURLToPath } from 'node:url'
import { workerBundle } from '../control-plane/worker-bundle.ts'
import { runnerBundle } from './runner-bundle.ts'

/** Everything that is built, into dist/: the Worker for the embedded control plane and the runner's one file. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

const kib = (text: string) => `${Math.round(Buffer.byteLength(text) / 1024)} KiB`
console.log(`dist/worker/index.js      ${kib(await workerBundle(ROOT))}`)
console.log(`dist/runner/runner.mjs    ${kib(await runnerBundle(ROOT))}`)
