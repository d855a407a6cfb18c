import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openEngine } from '../../../runner/executors/docker/engine.ts'
import { LABELS } from '../../../runner/executors/docker/template.ts'
import { removeDirectory, temporaryDirectory } from './runner-process.ts'

export const ENGINE_SOCKET = process.env.DOCKER_HOST?.replace(/^unix:\/\//, '') ?? '/var/run/docker.sock'
const CONTENT_LABEL = 'certyn-test.content'
const BUSYBOX = '/bin/busybox'
export const IMAGE = 'certyn-test/busybox:latest'
/** The same, with the label of an image that brings a sandbox of its own. */
export const USERNS_IMAGE = 'certyn-test/busybox:userns'
/** The same, with a volume. */
export const VOLUME_IMAGE = 'certyn-test/busybox:volume'
export const docker = openEngine(ENGINE_SOCKET)

/**
 * Why the tests against a real Engine cannot run here, or null.
 * With CERTYN_REQUIRE_DOCKER=1 their absence is a failure, not a skip.
 */
export async function engineMissing(): Promise<string | null> {
  const missing = await whatIsMissing()
  if (missing !== null && process.env.CERTYN_REQUIRE_DOCKER === '1') {
    throw new Error(`CERTYN_REQUIRE_DOCKER is 1 and ${missing}`)
  }
  return missing
}

async function whatIsMissing(): Promise<string | null> {
  try {
    await docker.ping()
  } catch {
    return `no Docker Engine answers at ${ENGINE_SOCKET}`
  }
  return existsSync(BUSYBOX) ? null : `${BUSYBOX} (package busybox-static) is not installed`
}

/** An image of one static binary: nothing is pulled from anywhere. */
export function buildTestImage(): void {
  const root = temporaryDirectory()
  try {
    for (const name of ['bin', 'tmp', 'etc', 'run', 'home', 'proc', 'sys', 'dev', 'certyn'])
      mkdirSync(join(root, name))
    copyFileSync(BUSYBOX, join(root, 'bin/busybox'))
    for (const name of [
      'sh',
      'sleep',
      'env',
      'id',
      'cat',
      'ls',
      'touch',
      'dd',
      'tail',
      'head',
      'kill',
      'mount',
      'wget',
      'ping',
    ]) {
      execFileSync('ln', ['-s', 'busybox', join(root, 'bin', name)])
    }
    const tar = join(root, '..', `${root.split('/').at(-1)}.tar`)
    const fixed = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner']
    execFileSync('tar', ['-C', root, ...fixed, '-cf', tar, '.'])
    importImage(tar, IMAGE, [])
    importImage(tar, USERNS_IMAGE, ['--change', 'LABEL certyn.seccomp=userns'])
    importImage(tar, VOLUME_IMAGE, ['--change', 'VOLUME /data'])
    removeDirectory(tar)
  } finally {
    removeDirectory(root)
  }
}

/** An import makes another image each time, because its date is part of it: what is there already is left alone. */
function importImage(tar: string, name: string, changes: readonly string[]): void {
  const content = createHash('sha256').update(readFileSync(tar)).update(changes.join('\n')).digest('hex')
  const known = imageOf(name)
  if (known?.content === content) return
  const labels = ['--change', 'ENV PATH=/bin', '--change', `LABEL ${CONTENT_LABEL}=${content}`]
  execFileSync('docker', ['import', ...labels, ...changes, tar, name], { stdio: 'ignore' })
  if (known === null) return
  try {
    execFileSync('docker', ['image', 'rm', known.id], { stdio: 'ignore' })
  } catch {
    // A container of a test beside this one still uses it.
  }
}

function imageOf(name: string): { readonly id: string; readonly content: string } | null {
  const format = `{{.Id}} {{index .Config.Labels "${CONTENT_LABEL}"}}`
  try {
    const said = execFileSync('docker', ['image', 'inspect', '--format', format, name], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [id = '', content = ''] = said.trim().split(' ')
    return { id, content }
  } catch {
    return null
  }
}

/** Containers of one installation only: tests run beside each other on one Engine. */
export async function containersOf(installationId: string) {
  const filters = { label: [`${LABELS.installation}=${installationId}`] }
  return docker.listContainers({ all: true, filters })
}

export async function removeContainersOf(installationId: string): Promise<void> {
  for (const { Id } of await containersOf(installationId)) {
    await docker
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => undefined)
  }
}
