import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { pageOf, Tenant as TenantSchema } from '../../protocol/admin-api.ts'
import { runtimeLine } from '../../scripts/control-plane/log.ts'
import { apiClient } from '../../scripts/up/api.ts'
import { ControlPlane, OPERATOR_KEY } from '../support/control-plane.ts'
import { newFolder } from '../support/folders.ts'
import { cleanEnvironment, programOf, ROOT, startProgram } from '../support/process.ts'
import { until } from '../support/until.ts'

const PROGRAM = 'scripts/control-plane/main.ts'

/** The embedded control plane as a process. Needs no Engine. */
const LogLine = z.object({ time: z.iso.datetime(), level: z.string(), msg: z.string() })

describe('npm run control-plane', () => {
  const controlPlane = new ControlPlane()
  beforeAll(() => controlPlane.start())
  afterAll(() => controlPlane.stop())

  test.each([
    [
      { SelfHosted__LeaseTtlSeconds: '4' },
      'SelfHosted__LeaseTtlSeconds: expected whole seconds from 5 to 3600',
    ],
    [{ 'SelfHosted:OfferTtlSeconds': 'soon' }, 'SelfHosted__OfferTtlSeconds: expected whole seconds'],
    [
      { Features__SelfHostedRunnersEnabled: 'yes' },
      'Features__SelfHostedRunnersEnabled: expected true or false',
    ],
    [{ OPERATOR_KEY: 'too-short' }, 'OPERATOR_KEY: expected at least 16 characters'],
  ])('stops at once at %o', async (env, line) => {
    const program = startProgram(PROGRAM, ['--port', '0', '--state-dir', newFolder('refused')], env)
    expect((await program.exited).code).toBe(2)
    expect(program.output()).toContain(line)
    for (const value of Object.values(env))
      if (value === 'too-short') expect(program.output()).not.toContain(value)
  })

  test.each([
    [['--port', '70000'], '--port: expected 0 to 65535'],
    [['--prot', '1'], "Unknown option '--prot'"],
  ])('refuses %o', async (args, line) => {
    const program = startProgram(PROGRAM, args, {})
    expect((await program.exited).code).toBe(2)
    expect(program.output()).toContain(line)
  })

  test('refuses a state folder that another one uses, and names it', async () => {
    const second = startProgram(PROGRAM, ['--port', '0', '--state-dir', controlPlane.stateDir], {})
    expect((await second.exited).code).toBe(1)
    expect(second.output()).toMatch(/is in use by another control plane \(process \d+\)/)
  })

  test('refuses a port that is in use', async () => {
    const port = new URL(controlPlane.url).port
    const second = startProgram(PROGRAM, ['--port', port, '--state-dir', newFolder('port')], {})
    expect((await second.exited).code).toBe(1)
    expect(second.output()).toContain(`--port: ${port} on 127.0.0.1 is already in use`)
  })

  test('keeps its state to its user', () => {
    expect(statSync(controlPlane.stateDir).mode & 0o077).toBe(0)
  })

  test('takes settings under the names of the documents, through npm and its shell', async () => {
    const npm = programOf(
      spawn(
        'npm',
        ['run', '--silent', 'control-plane', '--', '--port', '0', '--state-dir', newFolder('npm')],
        {
          cwd: ROOT,
          stdio: ['ignore', 'pipe', 'pipe'],
          env: { ...cleanEnvironment(), OPERATOR_KEY, 'Features:SelfHostedRunnersEnabled': 'perhaps' },
        },
      ),
    )
    expect((await npm.exited).code).not.toBe(0)
    expect(npm.output()).toContain('Features__SelfHostedRunnersEnabled: expected true or false')
  })

  test('is gone with everything it started when npm is killed with -9, and starts again on its state', async () => {
    const stateDir = newFolder('orphan')
    const start = () => {
      const npm = programOf(
        spawn('npm', ['run', '--silent', 'control-plane', '--', '--port', '0', '--state-dir', stateDir], {
          cwd: ROOT,
          stdio: ['ignore', 'pipe', 'pipe'],
          env: { ...cleanEnvironment(), OPERATOR_KEY },
        }),
      )
      onTestFinished(() => npm.kill('SIGKILL'))
      return npm
    }
    const ready = (npm: ReturnType<typeof start>) =>
      until('it is ready', () => /ready on (http:\S+)/.exec(npm.output())?.[1])

    const first = start()
    const origin = await ready(first)
    await apiClient(origin, OPERATOR_KEY).post('/tenants', { slug: 'kept', name: 'Kept' }, z.unknown())
    const family = descendants(first.pid)
    expect(family.length).toBeGreaterThanOrEqual(2)
    await first.end('SIGKILL')
    await until('no process of it is left', () => family.every(pid => !isAlive(pid)))

    const second = start()
    const operator = apiClient(await ready(second), OPERATOR_KEY)
    const { items } = await operator.get('/tenants', pageOf(TenantSchema))
    expect(items.map(tenant => tenant.slug)).toContain('kept')
    second.kill('SIGTERM')
    await second.exited
    expect(second.output()).toContain('"msg":"stopped"')
  })

  test('logs nothing but JSON lines with a time, a level and a message, from its first word to its last', async () => {
    const settings = { Features__SelfHostedRunnersEnabled: 'true', SelfHosted__LeaseTtl: '45' }
    const program = startProgram(PROGRAM, ['--port', '0', '--state-dir', newFolder('log')], settings)
    await until('the Worker has logged', () => program.output().includes('history_swept'))
    await program.end('SIGTERM')
    const lines = program
      .output()
      .trimEnd()
      .split('\n')
      .map(line => LogLine.parse(JSON.parse(line)))
    const said = lines.map(({ level, msg }) => `${level}: ${msg}`)
    expect(said).toContain('warn: SelfHosted__LeaseTtl is not a setting of this version and is ignored')
    expect(said).toContainEqual(expect.stringMatching(/^info: ready on http/))
    expect(said).toContain('info: history swept')
    expect(said.at(-1)).toBe('info: stopped')
  })

  test('wraps what workerd itself writes, and leaves the Worker’s lines as they are', () => {
    const at = Date.UTC(2026, 10, 25)
    const own = '{"level":"warn","time":"2026-11-25T00:00:00.000Z","event":"e","msg":"e"}'
    expect(runtimeLine('warn', own, at)).toBe(own)
    for (const [level, message] of [
      ['error', 'kj/async.c++:1: uncaught exception\n  at f'],
      ['log', '{"level":"warn"}'],
      ['log', 'plain\n'],
    ] as const) {
      const wrapped = { level: level === 'log' ? 'info' : level, time: '2026-11-25T00:00:00.000Z' }
      expect(JSON.parse(runtimeLine(level, message, at))).toEqual({
        ...wrapped,
        msg: message.trimEnd(),
        source: 'workerd',
      })
    }
  })

  test('answers problem+json for paths that do not exist', async () => {
    const response = await fetch(`${controlPlane.url}/nothing/here`)
    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toContain('application/problem+json')
  })

  test('never lets a client near the pages that miniflare keeps for development', async () => {
    for (const path of ['/cdn-cgi/platform-proxy', '/cdn-cgi/handler/scheduled', '/cdn-cgi/explorer']) {
      expect((await fetch(`${controlPlane.url}${path}`)).status, path).toBe(404)
    }
  })
})

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number)
  return children.flatMap(child => [child, ...descendants(child)])
}

function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
}
