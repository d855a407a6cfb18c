import { afterAll, describe, expect, test } from 'vitest'
import { Environment, pageOf } from '../../protocol/admin-api.ts'
import { isTerminal, Run } from '../../protocol/run.ts'
import { type Api, apiClient } from '../../scripts/up/api.ts'
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
