import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { finished } from 'node:stream/promises'
import type Docker from 'dockerode'
import { z } from 'zod'

/**
 * An image for the sample run, made of this process's own Node binary and the shared libraries it is using,
 * because no registry may be reachable. It is imported, not built, so it needs no builder either.
 */
const REPOSITORY = 'certyn/sample'
/** Raised when an image is laid out differently, so that an older one is not used. */
const LAYOUT = '2'

/** @returns a reference of the local image */
export async function ensureSampleImage(docker: Docker): Promise<string> {
  const libraries = sharedLibraries()
  const reference = `${REPOSITORY}:${fingerprint([process.execPath, ...libraries])}`
  if (await exists(docker, reference)) return reference
  console.log(`Making a small image for the sample run (${reference}) ...`)
  const folder = mkdtempSync(path.join(tmpdir(), 'certyn-sample-'))
  try {
    layOut(folder, libraries)
    await importFolder(docker, folder, reference)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  if (!(await exists(docker, reference))) throw new Error('the Engine did not keep the imported image')
  return reference
}

async function exists(docker: Docker, reference: string): Promise<boolean> {
  try {
    await docker.getImage(reference).inspect()
    return true
  } catch (error) {
    if (error instanceof Error && 'statusCode' in error && error.statusCode === 404) return false
    throw error
  }
}

function layOut(folder: string, libraries: readonly string[]): void {
  for (const file of libraries) {
    const target = path.join(folder, file)
    mkdirSync(path.dirname(target), { recursive: true })
    copyFileSync(file, target)
  }
  const bin = path.join(folder, 'usr', 'bin')
  mkdirSync(bin, { recursive: true })
  // Not where it lies here: the template mounts fresh folders over /tmp, /run and /home.
  copyFileSync(process.execPath, path.join(bin, 'node'))
  // What the read-only root needs to exist: mount points of the container template.
  for (const name of ['tmp', 'run', 'home', 'certyn', 'proc', 'sys', 'dev', 'etc']) {
    mkdirSync(path.join(folder, name), { recursive: true })
  }
}

async function importFolder(docker: Docker, folder: string, reference: string): Promise<void> {
  const [repo, tag] = reference.split(':')
  const tar = spawn('tar', ['-C', folder, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const failed = new Promise<never>((_, reject) => tar.on('error', reject))
  const response = await Promise.race([
    docker.importImage(tar.stdout, { repo, tag, changes: 'ENV PATH=/usr/bin' }),
    failed,
  ])
  response.resume()
  await finished(response)
}

const Report = z.object({ sharedObjects: z.array(z.string()) })

/** Everything the running Node has mapped, the loader included, at the paths where it looks for them. */
function sharedLibraries(): string[] {
  return Report.parse(process.report.getReport()).sharedObjects.filter(
    file => path.isAbsolute(file) && isFile(file),
  )
}

function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
}

function fingerprint(files: readonly string[]): string {
  const hash = createHash('sha256').update(LAYOUT)
  for (const file of files) {
    const { size, mtimeMs } = statSync(file)
    hash.update(`${file}\0${size}\0${mtimeMs}\0`)
  }
  return hash.digest('hex').slice(0, 12)
}
