import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { type Goal, table } from './support/figures.ts'

/**
 * `npm run bench [name ...]`: runs the benchmarks named, or all of them, prints what was measured against which goal,
 * and writes it to `dist/bench/<name>.json`. A goal that is missed is shown and is no failure: machines are shared.
 */
const BENCHES: Readonly<Record<string, () => Promise<Goal[]>>> = {
  relay: async () => (await import('./relay/main.ts')).benchRelay(),
  dashboard: async () => (await import('./dashboard/main.ts')).benchDashboard(),
}

const FOLDER = 'dist/bench'
const wanted = process.argv.slice(2)
const names = wanted.length > 0 ? wanted : Object.keys(BENCHES)
await mkdir(FOLDER, { recursive: true })
for (const name of names) {
  const bench = BENCHES[name]
  if (bench === undefined) {
    console.error(`There is no benchmark ${name}; there are: ${Object.keys(BENCHES).join(', ')}.`)
    process.exit(1)
  }
  const goals = await bench()
  console.log(`\n${name}\n\n${table(goals)}`)
  const machine = { cpus: cpus().length, model: cpus()[0]?.model ?? 'unknown', node: process.version }
  await writeFile(`${FOLDER}/${name}.json`, `${JSON.stringify({ machine, goals }, null, 2)}\n`)
}
process.exit(0)
