import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HAS_ENGINE } from '../support/engine.ts'
import { hasTools } from '../support/tools.ts'
import { until } from '../support/until.ts'
import { ACTIONS, type Outcome, run } from './script.ts'

/** The scripts of the publish actions against a real registry on loopback, and images pushed and pulled by a real Engine. */

const FIRST = '1'.repeat(40)
const SECOND = '2'.repeat(40)
const REPO = 'certyn/runner'

describe.skipIf(!hasTools('docker-registry', 'skopeo', 'jq', 'docker') || !HAS_ENGINE)('publishing', () => {
  let directory = ''
  let registry: ChildProcess
  let host = ''
  let env: Record<string, string> = {}
  const made: string[] = []

  beforeAll(async () => {
    directory = mkdtempSync('/tmp/certyn-registry-')
    host = `127.0.0.1:${await freePort()}`
    const file = (name: string, text: string) => {
      const at = path.join(directory, name)
      mkdirSync(path.dirname(at), { recursive: true })
      writeFileSync(at, text)
      return at
    }
    const config = file(
      'registry.yml',
      `version: 0.1\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\nhttp: {addr: "${host}"}\n`,
    )
    registry = spawn('docker-registry', ['serve', config], { stdio: 'ignore' })
    await until('the registry answers', async () => {
      const answer = await fetch(`http://${host}/v2/`).catch(() => null)
      return answer?.ok === true
    })
    file('.config/containers/registries.conf', `[[registry]]\nlocation = "${host}"\ninsecure = true\n`)
    env = { IMAGE: `${host}/${REPO}`, HOME: directory }
  })
  afterAll(async () => {
    if (made.length > 0) docker('rmi', '--force', ...new Set(made))
    registry?.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  })

  /** @returns the digest that the registry has for it */
  function push(commit: string | null, ...tags: string[]): string {
    const label = commit === null ? [] : ['--label', `org.opencontainers.image.revision=${commit}`]
    const names = tags.map(tag => `${host}/${REPO}:${tag}`)
    const context = path.join(directory, 'context')
    mkdirSync(context, { recursive: true })
    writeFileSync(path.join(context, 'Dockerfile'), `FROM scratch\nCOPY file /\n`)
    writeFileSync(path.join(context, 'file'), `${commit}`)
    docker('build', '--quiet', ...label, ...names.flatMap(name => ['--tag', name]), context)
    made.push(...names)
    for (const name of names) docker('push', '--quiet', name)
    return digestOf(names[0] ?? '')
  }

  /** Pulled anew, so that it is what the registry has. */
  function pulled(tag: string): string {
    const name = `${host}/${REPO}:${tag}`
    docker('rmi', '--force', name)
    docker('pull', '--quiet', name)
    made.push(name)
    return digestOf(name)
  }

  const digestOf = (name: string) =>
    docker('inspect', '--format', '{{index .RepoDigests 0}}', name).split('@')[1] ?? ''
  const script = (name: string, more: Record<string, string>): Outcome =>
    run(`${ACTIONS}/publish-image/${name}.sh`, { ...env, COMMIT_SHA: SECOND, ...more })

  test('a published image is given further tags, and all of them are the same image', () => {
    const digest = push(FIRST, 'sha-1111111')
    const { code, outputs, errors } = script('retag', { SOURCE_TAG: 'sha-1111111', TAGS: 'v1.2.3 latest' })
    expect([code, errors]).toEqual([0, ''])
    expect(outputs).toEqual({ digest, tags: 'sha-1111111 v1.2.3 latest' })
    expect(['sha-1111111', 'v1.2.3', 'latest'].map(pulled)).toEqual([digest, digest, digest])
  })

  test('an image under another name is known again by the commit it was built from', () => {
    const digest = push('3'.repeat(40), 'nightly')
    const { outputs } = script('retag', { SOURCE_TAG: 'nightly', TAGS: 'v3.0.0' })
    expect(outputs.tags).toBe('sha-3333333 v3.0.0')
    expect(pulled('sha-3333333')).toBe(digest)
  })

  test('what is not there, or does not say what it was built from, is not tagged', () => {
    push(null, 'unknown')
    const tags = { TAGS: 'v9.9.9' }
    const missing = script('retag', { SOURCE_TAG: 'missing', ...tags })
    expect([missing.code, missing.outputs]).toEqual([2, {}])
    expect(missing.errors).toContain(`there is no ${host}/${REPO}:missing to tag anew`)
    const unknown = script('retag', { SOURCE_TAG: 'unknown', ...tags })
    expect([unknown.code, unknown.outputs]).toEqual([2, {}])
    expect(unknown.errors).toContain('which commit it was built from')
    expect(() => pulled('v9.9.9')).toThrow()
  })

  test('a release is never moved, by a build or by a tag', () => {
    const digest = push(FIRST, 'v2.0.0', 'sha-1111111')
    push(SECOND, 'sha-2222222')
    for (const SOURCE_TAG of ['', 'sha-2222222']) {
      const { code, outputs, errors } = script('guard', { TAGS: 'v2.0.0 latest', SOURCE_TAG })
      expect([code, outputs]).toEqual([2, {}])
      expect(errors).toContain(`v2.0.0 is published already (${digest})`)
    }
  })

  test('a release of this very commit is published again as it is', () => {
    push(FIRST, 'v2.1.0')
    const again = script('guard', { TAGS: 'v2.1.0 latest', COMMIT_SHA: FIRST })
    expect([again.code, again.outputs]).toEqual([0, { source_tag: 'v2.1.0' }])
    const same = script('guard', { TAGS: 'v2.1.0', SOURCE_TAG: 'sha-1111111', COMMIT_SHA: SECOND })
    expect([same.code, same.outputs]).toEqual([0, { source_tag: 'sha-1111111' }])
  })

  test('what is new, and every tag that is no release, may be published', () => {
    push(FIRST, 'nightly')
    expect(script('guard', { TAGS: 'nightly latest v4.0.0' }).outputs).toEqual({ source_tag: '' })
    expect(script('guard', { TAGS: '' }).outputs).toEqual({ source_tag: '' })
    expect(script('guard', { IMAGE: `${host}/certyn/new`, TAGS: 'v1.0.0' }).outputs).toEqual({
      source_tag: '',
    })
  })

  test('nothing is decided without the registry', () => {
    const { code, errors } = script('guard', { IMAGE: '127.0.0.1:1/certyn/runner', TAGS: 'v1.0.0' })
    expect(code).toBe(1)
    expect(errors).toContain('cannot be looked up')
  })

  test('the names to push are in front of the tags', () => {
    const { outputs } = script('names', { TAGS: 'sha-2222222 v1.0.0' })
    expect(outputs).toEqual({
      tags: 'sha-2222222 v1.0.0',
      names: `${host}/${REPO}:sha-2222222\n${host}/${REPO}:v1.0.0`,
    })
  })
})

function docker(...args: readonly string[]): string {
  return execFileSync('docker', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
