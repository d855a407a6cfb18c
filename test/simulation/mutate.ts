import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import type { Mutant } from './mutants.ts'
import type { Summary } from './world.ts'

const ROOT = join(import.meta.dirname, '../..')

/** Builds the simulation with one fault in it. @returns its `simulate`, to be run once per seed */
export async function withMutant<T>(
  mutant: Mutant,
  use: (simulate: (seed: number) => Summary) => T,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'mutant-'))
  const outfile = join(folder, 'world.mjs')
  try {
    await build({
      entryPoints: [join(import.meta.dirname, 'world.ts')],
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile,
      logLevel: 'error',
      plugins: [
        {
          name: 'mutant',
          setup({ onLoad }) {
            onLoad({ filter: /\.ts$/ }, async ({ path }) => {
              if (relative(ROOT, path) !== mutant.file) return undefined
              return { contents: inject(mutant, await readFile(path, 'utf8')), loader: 'ts' }
            })
          },
        },
      ],
    })
    const { simulate } = await import(pathToFileURL(outfile).href)
    return use(simulate)
  } finally {
    await rm(folder, { recursive: true })
  }
}

function inject({ file, find, replace }: Mutant, source: string): string {
  if (source.split(find).length !== 2) throw new Error(`${file} does not hold exactly once: ${find}`)
  return source.replace(find, () => replace)
}
