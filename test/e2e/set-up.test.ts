import { spawn, spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { HAS_ENGINE } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { cleanEnvironment, programOf, ROOT } from '../support/process.ts'

/** What a newcomer does: clone into an empty folder and type one command, with nothing but Node and npm there. */
const IS_CLONE = existsSync(path.join(ROOT, '.git'))

describe.skipIf(!IS_CLONE)('a clean clone in an empty folder', () => {
  const folder = newFolder('clone')
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('installs itself, runs the sample and says on what, with one command', {
    timeout: 600_000,
  }, async () => {
    const cloned = spawnSync('git', ['clone', '--quiet', '--no-hardlinks', ROOT, folder], {
      encoding: 'utf8',
    })
    expect(cloned.status, cloned.stderr).toBe(0)
    const environment = cleanEnvironment()
    const up = programOf(
      spawn('npm', ['run', 'up', '--', '--once'], {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...environment, PATH: hostPath(environment.PATH ?? '') },
      }),
    )
    expect((await up.exited).code, up.output()).toBe(0)
    expect(up.output()).toContain('Installing dependencies with npm')
    expect(up.output()).toContain(
      `The sample run succeeded on the ${HAS_ENGINE ? 'docker' : 'host'} executor.`,
    )
    expect(up.output()).toMatch(/Admin key +cty_key_/)
  })
})

/** Without this repository's own binaries: the host's Node, whichever it is. */
function hostPath(value: string): string {
  return value
    .split(path.delimiter)
    .filter(part => !part.includes('node_modules'))
    .join(path.delimiter)
}
