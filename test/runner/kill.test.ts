import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'vitest'
import type { Exit, SessionState } from '../../protocol/runner-api.ts'
import { aJob, anOffer, aStop, sessionId } from './support/factories.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

/** The daemon dies as by kill -9 at each step of a session; another takes its place. */

const SESSION = sessionId('a')
const PRELOAD = new URL('../support/journal-fault.mjs', import.meta.url).href
/** The session ended by itself, with the code that its command gave. */
const DONE = { code: 4, reason: 'exited' } satisfies Exit
/** It was to be created, and nothing says that it was: it is not tried again, whatever became of it. */
const UNKNOWN = { code: null, reason: 'engine_error' } satisfies Exit

class Host {
  readonly plane: FakeControlPlane
  readonly directory = temporaryDirectory()
  readonly #runners: RunnerProcess[] = []

  private constructor(plane: FakeControlPlane) {
    this.plane = plane
    plane.reply = { next_sync_in_ms: 200, lease_ttl_ms: 30_000 }
  }

  static async of({ onTestFinished }: TestContext): Promise<Host> {
    const host = new Host(await FakeControlPlane.start())
    onTestFinished(async () => {
      for (const runner of host.#runners) await runner.destroy()
      await host.plane.stop()
      removeDirectory(host.directory)
    })
    return host
  }

  /** @param fault see journal-fault.mjs */
  spawn(env: Readonly<Record<string, string>> = {}, fault?: string): RunnerProcess {
    const runner = new RunnerProcess({
      ...settingsFor(this.plane, this.directory, 'host'),
      ...(fault !== undefined && {
        NODE_OPTIONS: `--import ${PRELOAD}`,
        TEST_JOURNAL_FAULT: fault,
        TEST_JOURNAL_FAULT_DONE: this.#file('fault'),
      }),
      ...env,
    })
    this.#runners.push(runner)
    return runner
  }

  /** Resolves once it can take work. */
  async start(env: Readonly<Record<string, string>> = {}, fault?: string): Promise<RunnerProcess> {
    const syncs = this.plane.syncs.length
    const runner = this.spawn(env, fault)
    await until('a runner that can take work', () =>
      this.plane.syncs.slice(syncs).some(sync => sync.inventory === 'complete'),
    )
    return runner
  }

  /** Whether the journal's fault has come to pass. */
  get isFaulty(): boolean {
    return existsSync(this.#file('fault'))
  }

  /** A command that says that it was started, and ends when `letEnd` is called. */
  offer(shell = ''): void {
    const wait = `while [ ! -e ${this.#file('go')} ]; do sleep 0.02; done`
    const command = ['/bin/sh', '-c', `${shell} echo x >> ${this.#file('count')}; ${wait}; exit ${DONE.code}`]
    this.plane.offer(anOffer('a', { job: aJob({ command }), offer_ttl_ms: 30_000 }))
  }

  letEnd(): void {
    writeFileSync(this.#file('go'), '')
  }

  get starts(): number {
    return existsSync(this.#file('count')) ? readFileSync(this.#file('count'), 'utf8').length / 2 : 0
  }

  async end(): Promise<Exit | undefined> {
    await until('the end', () => this.plane.exits.has(SESSION))
    await until(
      'an empty inventory',
      () => this.plane.lastSync?.inventory === 'complete' && this.plane.lastSync.leases.length === 0,
    )
    const left = () =>
      ['journal', 'sessions', 'host'].flatMap(name => readdirSync(join(this.directory, name)))
    await until('nothing is left', () => left().length === 0)
    return this.plane.exits.get(SESSION)?.exit
  }

  #file(name: string): string {
    return join(this.directory, name)
  }
}

interface Case {
  /** What keeps the session in the state until the control plane has heard of it. */
  readonly keeper?: string
  readonly exit: Exit
  readonly starts: number
}

/** A process has no image to pull. */
const STATES: Readonly<Record<Exclude<SessionState, 'pulling'>, Case>> = {
  accepted: { keeper: 'hold after accepted', exit: DONE, starts: 1 },
  starting: { keeper: 'hold after creating', exit: UNKNOWN, starts: 0 },
  running: { exit: DONE, starts: 1 },
  stopping: { exit: { code: 137, reason: 'stopped' }, starts: 1 },
  exited: { exit: DONE, starts: 1 },
}

describe.concurrent('a daemon killed', () => {
  test.for(Object.entries(STATES))('when it says %s', async ([state, { keeper, exit, starts }], context) => {
    const { expect } = context
    const host = await Host.of(context)
    const first = await host.start({ RUNNER_STOP_GRACE_SECONDS: '60' }, keeper)
    let seen = false
    host.plane.onSync = ({ leases: [lease] }) => {
      if (seen || lease === undefined || (keeper !== undefined && !host.isFaulty)) return
      if (lease.state === state) {
        seen = true
        first.kill('SIGKILL')
      } else if (lease.state === 'running') {
        if (state === 'stopping') host.plane.command(aStop('a'))
        else host.letEnd()
      }
    }
    host.offer(state === 'stopping' ? `trap '' TERM;` : '')
    await until(`it says ${state}`, () => seen)
    await first.ended()
    // What is still to end ends under the next one.
    if (state !== 'stopping') host.letEnd()
    await host.start({ RUNNER_STOP_GRACE_SECONDS: '1' })
    expect(await host.end()).toMatchObject(exit)
    expect(host.starts).toBe(starts)
  })

  // Before `accepted` it depends on whether it was listed: an end-to-end test shows both, with a control plane that
  // can tell a lost session.
  test.for([
    ['after accepted', DONE, 1],
    ['before creating', DONE, 1],
    ['after creating', UNKNOWN, 0],
    ['before created', DONE, 1],
    ['after created', DONE, 1],
    ['before ended', DONE, 1],
    ['after ended', DONE, 1],
    ['before erased', DONE, 1],
    ['after erased', DONE, 1],
  ] as const)('%s is in its journal', async ([fault, exit, starts], context) => {
    const { expect } = context
    const host = await Host.of(context)
    const first = await host.start({}, `die ${fault}`)
    host.plane.onSync = ({ leases: [lease] }) => {
      if (lease?.state === 'running') host.letEnd()
    }
    host.offer()
    await first.ended()
    await host.start()
    expect(await host.end()).toMatchObject(exit)
    expect(host.starts).toBe(starts)
  })

  test('at its first sync, the next one at its second, and so on, does nothing twice', async context => {
    const { expect } = context
    const host = await Host.of(context)
    host.offer()
    for (let round = 1; round <= 6; round++) {
      let syncs = 0
      const runner = host.spawn()
      host.plane.onSync = () => {
        syncs += 1
        if (syncs === round) runner.kill('SIGKILL')
      }
      await runner.ended()
      expect(host.starts).toBeLessThanOrEqual(1)
      if (round === 5) host.letEnd()
    }
    host.plane.onSync = () => undefined
    await host.start()
    const exit = await host.end()
    // Only what never ran may have been given up.
    expect(exit).toMatchObject(host.starts === 1 ? DONE : UNKNOWN)
  })
})
