import { cp, mkdir, rename, rm } from 'node:fs/promises'
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
  await rm(folder, { recursive: true, force: true })
  await rename(made, folder).catch(async error => {
    await rm(made, { recursive: true, force: true })
    if (error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY') return
    throw error
  })
  return folder
}
