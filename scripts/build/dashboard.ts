import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { build, stop } from 'esbuild'

/** What the Worker serves as static assets, into dist/dashboard. @returns its folder */
export async function buildDashboard(root: string): Promise<string> {
  const folder = path.join(root, 'dist', 'dashboard')
  // Several processes may build at once; what is served is whole whichever wins.
  const made = `${folder}.${process.pid}`
  await build({
    absWorkingDir: root,
    entryPoints: { live: 'dashboard/live/main.ts', 'live-style': 'dashboard/live/live.css' },
    outdir: path.join(made, 'assets'),
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['chrome111', 'firefox115', 'safari16.4'],
    legalComments: 'none',
    logLevel: 'warning',
  })
  await stop()
  await rename(path.join(made, 'assets', 'live-style.css'), path.join(made, 'assets', 'live.css'))
  await mkdir(path.join(made, 'live'), { recursive: true })
  const page = await readFile(path.join(root, 'dashboard', 'live', 'index.html'))
  await writeFile(path.join(made, 'live', 'index.html'), page)
  await rm(folder, { recursive: true, force: true })
  await rename(made, folder).catch(async error => {
    await rm(made, { recursive: true, force: true })
    if (error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY') return
    throw error
  })
  return folder
}
