import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** Set up once a run: one folder that holds every test's state and goes with it, however the tests ended. */
export default function setup(): () => void {
  const folder = mkdtempSync(path.join(tmpdir(), 'certyn-e2e-'))
  process.env.CERTYN_TEST_FOLDER = folder
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}

/** An empty folder of the caller's own. */
export function newFolder(name: string): string {
  return mkdtempSync(path.join(process.env.CERTYN_TEST_FOLDER ?? tmpdir(), `${name}-`))
}
