import { spawn, spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { HAS_ENGINE } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { CHROMIUM } from '../support/live.ts'
import { cleanEnvironment, type Program, programOf, ROOT } from '../support/process.ts'
import { until } from '../support/until.ts'

/** What a newcomer does: clone into an empty folder and type one command, with nothing but Node and npm there. */
const IS_CLONE = existsSync(path.join(ROOT, '.git'))

describe.skipIf(!IS_CLONE)('a clean clone in an empty folder', () => {
  const folder = newFolder('clone')
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('installs itself, runs the sample and says on what, with one command, and refuses a second one beside it', {
    timeout: 600_000,
  }, async () => {
    const cloned = spawnSync('git', ['clone', '--quiet', '--no-hardlinks', ROOT, folder], {
      encoding: 'utf8',
    })
    expect(cloned.status, cloned.stderr).toBe(0)
    const up = upOnce(folder)
    const isStarting = () => up.output().includes('Starting the control plane')
    await until('the command installs and starts', isStarting, 500_000)
    const second = upOnce(folder)
    expect((await second.exited).code).toBe(1)
    expect(second.output()).toContain('is in use by another `npm run up`')
    expect((await up.exited).code, up.output()).toBe(0)
    expect(up.output()).toContain('Installing dependencies with npm')
    expect(up.output()).not.toContain('EBADENGINE')
    expect(up.output()).toContain(
      `The sample run succeeded on the ${HAS_ENGINE ? 'docker' : 'host'} executor`,
    )
    const hasBrowser = HAS_ENGINE ? process.env.CERTYN_AGENT_IMAGE !== undefined : CHROMIUM !== undefined
    if (hasBrowser) expect(up.output()).toContain('and drove a page in Chromium')
    expect(up.output()).toMatch(/Admin key +cty_key_/)
  })
})

function upOnce(folder: string): Program {
  const environment = cleanEnvironment()
  return programOf(
    spawn('npm', ['run', 'up', '--', '--once'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...environment, PATH: hostPath(environment.PATH ?? '') },
    }),
  )
}

/** Without this repository's own binaries: the host's Node, whichever it is. */
function hostPath(value: string): string {
  return value
    .split(path.delimiter)
    .filter(part => !part.includes('node_modules'))
    .join(path.delimiter)
}
