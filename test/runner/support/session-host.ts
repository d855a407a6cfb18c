import { join } from 'node:path'
import type Docker from 'dockerode'
import { systemClock } from '../../../runner/clock.ts'
import { inventoryLoop } from '../../../runner/daemon/inventory-loop.ts'
import { SessionLedger } from '../../../runner/daemon/ledger.ts'
import { SessionLoop } from '../../../runner/daemon/session-loop.ts'
import { DockerExecutor } from '../../../runner/executors/docker/docker-executor.ts'
import { type HostFacts, readHostFacts } from '../../../runner/executors/docker/engine.ts'
import { Images } from '../../../runner/executors/docker/images.ts'
import { Latch } from '../../../runner/latch.ts'
import { createLog } from '../../../runner/log.ts'
import { readPolicy } from '../../../runner/policy.ts'
import { StateDirectory } from '../../../runner/state/state-directory.ts'
import { NO_METRICS } from '../../../runner/telemetry/instruments.ts'
import { aReply, NOTHING_TO_COLLECT, runId } from './factories.ts'
import { removeDirectory, temporaryDirectory, until } from './runner-process.ts'

interface Settings {
  readonly docker: Docker
  readonly installationId: string
  readonly stopGraceMs: number
  readonly pull?: 'if_not_present' | 'always' | 'never'
  readonly host?: HostFacts
}

/** Everything of the daemon that deals with an Engine, in this process. The test is its control plane. */
export class SessionHost {
  readonly ledger: SessionLedger
  readonly sessions: SessionLoop
  readonly #stop = new AbortController()
  readonly #loops: Promise<unknown>
  readonly #close: () => void
  readonly #relist: () => void

  private constructor(settings: Settings, directory: string, state: StateDirectory, host: HostFacts) {
    const { docker, installationId, stopGraceMs, pull = 'never' } = settings
    const clock = systemClock
    const log = createLog('silent')
    const executor = new DockerExecutor({
      docker,
      images: new Images(docker, pull, () => undefined),
      host,
      policy: readPolicy(null),
      config: {
        RUNNER_LOG_CAP_MB: 256,
        RUNNER_JOB_HTTPS_PROXY: null,
        RUNNER_JOB_NO_PROXY: null,
        RUNNER_JOB_CA_FILE: null,
      },
      state,
      hostSessionsPath: join(directory, 'sessions'),
      installationId,
      formerInstallations: [],
      runnerId: () => 'rnr_test',
      runIdOf: () => runId('a'),
      clock,
    })
    this.ledger = new SessionLedger({
      installationId,
      slotsMax: 2,
      stopGraceMs,
      restored: [],
      lastSync: null,
    })
    const doubt = new Latch()
    const onDoubt = () => doubt.raise()
    const onChange = () => undefined
    this.sessions = new SessionLoop({
      collecting: NOTHING_TO_COLLECT,
      ledger: this.ledger,
      executor,
      state,
      clock,
      log,
      metrics: NO_METRICS,
      onChange,
      onDoubt,
    })
    const observe = (seen: Parameters<SessionLoop['observe']>[0]) => this.sessions.observe(seen)
    const { signal } = this.#stop
    this.#loops = Promise.all([
      this.sessions.run(signal),
      inventoryLoop({ executor, clock, log, doubt, observe }, signal),
    ])
    this.#relist = onDoubt
    this.#close = () => {
      state.release()
      removeDirectory(directory)
    }
  }

  static async start(settings: Settings): Promise<SessionHost> {
    const directory = temporaryDirectory()
    const state = await StateDirectory.open(directory)
    const facts = settings.host ?? (await readHostFacts(settings.docker))
    const host = new SessionHost(settings, directory, state, facts)
    await until('a listing', () => host.ledger.draft(systemClock.now()).inventory === 'complete')
    return host
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#loops
    this.#close()
  }

  /** As a control plane that keeps what lives and forgets what has ended. */
  reply(change: Parameters<typeof aReply>[0] = {}): void {
    const now = systemClock.now()
    const leases = this.ledger.draft(now).leases.map(({ session_id, state }) => ({
      session_id,
      verdict: state === 'exited' ? ('forget' as const) : ('keep' as const),
    }))
    this.ledger.applyReply(aReply({ leases, ...change }), now, now)
    this.sessions.wake()
  }

  end(id: string): void {
    this.ledger.end(id, 'stopped', 'the test says so', systemClock.now())
    this.sessions.wake()
  }

  lookAgain(): void {
    this.#relist()
  }

  report(id: string) {
    return this.ledger.draft(systemClock.now()).leases.find(lease => lease.session_id === id)
  }
}
