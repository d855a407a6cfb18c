import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { afterAll, describe, expect, test } from 'vitest'
import { Environment, pageOf } from '../../protocol/admin-api.ts'
import { isTerminal, Run } from '../../protocol/run.ts'
import { type Api, apiClient } from '../../scripts/up/api.ts'
import { pauseAfter } from '../../scripts/up/kept-child.ts'
import { newFolder } from '../support/folders.ts'
import { CHROMIUM } from '../support/live.ts'
import { type Program, startProgram } from '../support/process.ts'
import { until } from '../support/until.ts'

/** `npm run up` as it is lived with: stopped, killed and started again, beside runs of its user's own. */

/** The sample is a plain process, so that Chromium's start is all there is to wait for. */
const ENVIRONMENT = { DOCKER_HOST: 'unix:///nowhere/docker.sock', RUNNER_MIN_DISK_MB: '0' }

class Up {
  readonly #program: Program

  constructor(stateDir: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    const all = ['--state-dir', stateDir, ...args]
    this.#program = startProgram('scripts/up/main.ts', all, { ...ENVIRONMENT, ...env })
  }

  get output(): string {
    return this.#program.output()
  }

  async settled(): Promise<this> {
    let ended = false
    void this.#program.exited.then(() => {
      ended = true
    })
    await until('it is up', () => {
      if (ended) throw new Error(`it ended:\n${this.output}`)
      return this.output.includes('Press Ctrl-C')
    })
    return this
  }

  /** The run that it says can be watched. */
  get watched(): string | undefined {
    return /\/live\/(run_\w+)#cty_link_/.exec(this.output)?.[1]
  }

  get api(): Api {
    const origin = /ready on (http:\S+)/.exec(this.output)?.[1]
    const key = /Admin key +(\S+)/.exec(this.output)?.[1]
    return apiClient(origin ?? '', key ?? '')
  }

  /** Of one of the programs that it keeps. */
  pidOf(program: string): number | undefined {
    const { pid } = this.#program
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    return children.map(Number).find(child => {
      try {
        return readFileSync(`/proc/${child}/cmdline`, 'utf8').includes(program)
      } catch {
        // It has just ended.
        return false
      }
    })
  }

  get exited(): Promise<{ code: number | null }> {
    return this.#program.exited
  }

  end(signal: NodeJS.Signals): Promise<void> {
    return this.#program.end(signal)
  }
}

async function startRun(api: Api, script: string): Promise<Run> {
  const { items } = await api.get('/environments', pageOf(Environment))
  const body = { image: 'certyn/own:v1', command: [process.execPath, '-e', script], stream: false }
  return api.post(`/environments/${items[0]?.id}/runs`, body, Run)
}

async function openRuns(api: Api): Promise<string[]> {
  const { items } = await api.get('/runs?limit=200', pageOf(Run))
  return items.filter(({ status }) => !isTerminal(status)).map(({ id }) => id)
}

const hasEnded = (api: Api, id: string) => async () => isTerminal((await api.get(`/runs/${id}`, Run)).status)

describe.skipIf(CHROMIUM === undefined)('npm run up, again and again', () => {
  const stateDir = newFolder('up')
  let up: Up

  afterAll(async () => {
    for (const id of await openRuns(up.api)) await up.api.post(`/runs/${id}/cancel`, {}, Run)
    await until('nothing runs', async () => (await openRuns(up.api)).length === 0)
    await up.end('SIGINT')
  })

  test('goes on with the sample that still runs, after a stop and after a crash', async () => {
    up = await new Up(stateDir, ['--port', '0']).settled()
    const { watched } = up
    expect(watched).toBeDefined()
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      await up.end(signal)
      up = await new Up(stateDir).settled()
      expect(up.watched, up.output).toBe(watched)
      await until('one run is open', async () => (await openRuns(up.api)).length === 1)
    }
  })

  test.each([
    ['runner', 'runner/main.ts'],
    ['control plane', 'scripts/control-plane/main.ts'],
  ])('starts its %s again when that is killed, and goes on', async (name, program) => {
    const { watched } = up
    const before = up.pidOf(program)
    process.kill(before ?? 0, 'SIGKILL')
    await until('another one is there', () => ![undefined, before].includes(up.pidOf(program)))
    expect(up.output).toContain(`The ${name} ended (signal SIGKILL) and is started again`)
    const own = await until('a run is taken', () => startRun(up.api, '').catch(() => undefined))
    await until('it ended', hasEnded(up.api, own.id))
    expect((await up.api.get(`/runs/${own.id}`, Run)).status).toBe('succeeded')
    expect((await up.api.get(`/runs/${watched}`, Run)).status).toBe('running')
  })

  test('leaves a slot for a run of its user’s own, and needs none of those that are taken', async () => {
    const own = await startRun(up.api, '')
    await until('it ended', hasEnded(up.api, own.id))
    await startRun(up.api, 'setTimeout(() => {}, 600000)')
    await until(
      'it runs',
      async () => (await up.api.get('/runs?status=running', pageOf(Run))).items.length === 2,
    )
    await up.end('SIGINT')
    up = await new Up(stateDir, [], { MAX_CONCURRENCY: '1' }).settled()
    expect(up.watched).toBeDefined()
    await up.api.post(`/runs/${up.watched}/cancel`, {}, Run)
    await until('it ended', hasEnded(up.api, up.watched ?? ''))
    await up.end('SIGINT')
    up = await new Up(stateDir, [], { MAX_CONCURRENCY: '1' }).settled()
    expect(up.output).toContain('Every slot has a run')
    expect(await openRuns(up.api)).toHaveLength(1)
  })
})

test.each([
  [{ SelfHosted__LeaseTtlSeconds: '1' }, 'SelfHosted__LeaseTtlSeconds: expected'],
  [{ MAX_CONCURRENCY: 'two' }, 'MAX_CONCURRENCY: expected'],
])('npm run up ends at the wrong setting %o, and shows it', async (env, line) => {
  const up = new Up(newFolder('up-refused'), ['--port', '0'], env)
  expect((await up.exited).code).toBe(1)
  expect(up.output).toContain(line)
  expect(up.output).not.toContain('started again')
})

test.each([
  [['--help'], 0, '--state-dir'],
  [['--onec'], 2, "'--onec'"],
  [['--port', 'abc'], 2, '--port: expected 0 to 65535'],
])('npm run up with %j says what there is', async (args, code, line) => {
  const up = new Up(newFolder('up-usage'), args)
  expect((await up.exited).code).toBe(code)
  expect(up.output).toContain(line)
  expect(up.output).toContain('Usage: npm run up')
})

test('npm run up says what to do about a port that is taken', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const up = new Up(newFolder('up-port'), ['--port', `${port}`])
  expect((await up.exited).code).toBe(1)
  expect(up.output).toContain(`--port: ${port} is already in use; stop what listens there`)
  server.close()
})

test('what npm run up keeps is started again but when it refuses to start, or does so again and again', () => {
  const life = { end: { isKilled: false }, ms: 100, shortBefore: 0, isFirst: false }
  expect(pauseAfter({ ...life, isFirst: true })).toBeNull()
  expect(pauseAfter({ ...life, isFirst: true, end: { isKilled: true } })).toBe(500)
  expect(pauseAfter({ ...life, isFirst: true, ms: 60_000 })).toBe(500)
  expect([0, 1, 2, 3, 4].map(shortBefore => pauseAfter({ ...life, shortBefore }))).toEqual([
    500,
    1_000,
    2_000,
    4_000,
    null,
  ])
  expect(pauseAfter({ ...life, shortBefore: 50, end: { isKilled: true } })).toBe(15_000)
})
