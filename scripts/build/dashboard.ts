import { createHash } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { build, stop } from 'esbuild'

/** Pages that stand for themselves, so that a viewer with a link loads nothing of the dashboard. */
const PAGES = ['index.html', 'live/index.html'] as const

/** What the Worker serves as static assets. @param folder where it goes @returns the folder */
export async function buildDashboard(
  root: string,
  folder = path.join(root, 'dist', 'dashboard'),
): Promise<string> {
  // Several processes may build at once; what is served is whole whichever wins.
  const made = `${folder}.${process.pid}`
  await build({
    absWorkingDir: root,
    entryPoints: [
      { in: 'dashboard/app/main.tsx', out: 'app' },
      { in: 'dashboard/style/app.css', out: 'app' },
      { in: 'dashboard/live/main.ts', out: 'live' },
      { in: 'dashboard/live/live.css', out: 'live' },
    ],
    outdir: path.join(made, 'assets'),
    bundle: true,
    splitting: true,
    chunkNames: 'part-[hash]',
    minify: true,
    format: 'esm',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    target: ['chrome123', 'firefox120', 'safari17.5'],
    legalComments: 'none',
    logLevel: 'warning',
  })
  await stop()
  for (const page of PAGES) {
    await mkdir(path.join(made, path.dirname(page)), { recursive: true })
    await cp(path.join(root, 'dashboard', page), path.join(made, page))
  }
  await replace(folder, made)
  return folder
}

/** What is there already and the same stays, so that it is never missing where somebody reads it at this moment. */
async function replace(folder: string, made: string): Promise<void> {
  if (await becomes(made, folder)) return
  const isSame = (await contentsOf(folder)) === (await contentsOf(made))
  if (!isSame) await rm(folder, { recursive: true, force: true })
  if (isSame || !(await becomes(made, folder))) await rm(made, { recursive: true, force: true })
}

/** @returns whether it did: false where there is one already */
async function becomes(made: string, folder: string): Promise<boolean> {
  try {
    await rename(made, folder)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY') return false
    await rm(made, { recursive: true, force: true })
    throw error
  }
}

/** @returns a digest of all names and bytes; null for a folder that is not there wholly */
async function contentsOf(folder: string): Promise<string | null> {
  const digest = createHash('sha256')
  try {
    for (const name of (await readdir(folder, { recursive: true })).toSorted()) {
      const file = path.join(folder, name)
      const bytes = (await stat(file)).isFile() ? await readFile(file) : ''
      digest.update(`${name}\0${bytes.length}\0`).update(bytes)
    }
    return digest.digest('hex')
  } catch {
    return null
  }
}
