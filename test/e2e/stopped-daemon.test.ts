import { afterAll, beforeAll, describe, type TestContext, test } from 'vitest'
import { SyncRequest, SyncResponse, type Verdict } from '../../protocol/runner-api.ts'
import { Checkpoint, type Passing } from '../support/checkpoint.ts'
import { ControlPlane, endsAmong } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage, sessionContainers, watchStarts } from '../support/engine.ts'
import { JOBS, letEnd } from '../support/jobs.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/**
 * A daemon stopped by a signal for longer than its lease. While it is stopped it cannot end its session, and nobody
 * else can: the run's next attempt may then run beside it. What is promised is that the next attempt does not begin
 * before the lease and its grace are over, that the stopped daemon ends its session as soon as it goes on, also when
 * it hears of nobody, and that nothing it says about it counts any more.
 */

const TTL_MS = 12_000
const GRACE_MS = 3_000
/** From the lease's end to SIGKILL, which a job that ignores SIGTERM waits for. */
const KILL_MS = 10_000
/** For the Engine, and for a machine with other things to do. */
const SLACK_MS = 5_000

/** The way of one daemon to its control plane. */
class Line {
  isOpen = true
  lastSentAt = 0
  readonly verdicts: { readonly sessionId: string; readonly verdict: Verdict }[] = []

  pass({ path, request, reply }: Passing): boolean {
    if (!this.isOpen) return false
    if (!path.endsWith('/sync')) return true
    // Whoever counts from here counts from no later than the control plane, which has not received it yet.
    if (reply === null && SyncRequest.parse(JSON.parse(request)).leases.length > 0)
      this.lastSentAt = Date.now()
    if (reply?.status === 200) {
      const { leases } = SyncResponse.parse(JSON.parse(reply.text))
      for (const { session_id, verdict } of leases) this.verdicts.push({ sessionId: session_id, verdict })
    }
    return true
  }
}

describe.skipIf(!HAS_ENGINE).concurrent('a daemon stopped past its lease', () => {
  const controlPlane = new ControlPlane({
    SelfHosted__LeaseTtlSeconds: String(TTL_MS / 1000),
    SelfHosted__LeaseGraceSeconds: String(GRACE_MS / 1000),
  })
  let image: string
  let watch: Awaited<ReturnType<typeof watchStarts>>

  beforeAll(async () => {
    image = await nodeImage()
    watch = await watchStarts()
    await controlPlane.start()
  })
  afterAll(async () => {
    watch.stop()
    await controlPlane.stop()
  })

  const lifeOf = (sessionId: string | null) => watch.lives.find(life => life.sessionId === sessionId)

  /** Goes up to the moment at which the run's second attempt runs beside the first. */
  async function bothAttemptsRun({ expect, onTestFinished }: TestContext) {
    const tenant = await controlPlane.tenant()
    const line = new Line()
    const { hostname, port } = new URL(controlPlane.url)
    const way = await Checkpoint.before({ host: hostname, port: Number(port) }, 0, call => line.pass(call))
    const env = { CONTROL_PLANE_URL: way.url }
    const sleeper = await Daemon.of(controlPlane, tenant, { name: 'sleeper', env })
    const other = await Daemon.of(controlPlane, tenant, { name: 'other' })
    onTestFinished(async () => {
      await Promise.all([sleeper.end('SIGKILL'), other.end('SIGKILL')])
      await way.close()
    })
    await sleeper.online(tenant)
    const { id } = await tenant.run({ image, command: JOBS.waitIgnoringSigterm(9) })
    const first = await tenant.reaches(id, 'running')
    sleeper.signal('SIGSTOP')
    const { lastSentAt } = line
    await other.online(tenant)
    const again = await until('the run is given to the other runner', async () => {
      const run = await tenant.get(id)
      return run.session_id !== first.session_id && run.status === 'running' ? run : undefined
    })
    expect(again.attempt).toBe(2)
    const expired = await until('the expiry is among the events', async () =>
      (await tenant.events(id)).find(event => event.type === 'lease_expired'),
    )
    expect(expired.session_id).toBe(first.session_id)
    expect(Date.parse(expired.at)).toBeGreaterThanOrEqual(lastSentAt + TTL_MS + GRACE_MS)
    const second = await until('its container has started', () => lifeOf(again.session_id))
    expect(second.startedAt).toBeGreaterThanOrEqual(lastSentAt + TTL_MS + GRACE_MS)
    const runnerIds = (await tenant.runners()).map(runner => runner.id)
    const running = (await sessionContainers(runnerIds)).filter(one => one.state === 'running')
    expect(running.map(one => one.sessionId).sort()).toEqual([first.session_id, again.session_id].sort())

    /** The first attempt is gone and the second one goes on to its own end, whatever was said of the first. */
    async function settle(): Promise<void> {
      const before = await tenant.get(id)
      expect([before.status, before.session_id]).toEqual(['running', again.session_id])
      letEnd(other.stateDir, again.session_id ?? '')
      const run = await tenant.ends(id)
      expect([run.status, run.exit_code, run.session_id]).toEqual(['failed', 9, again.session_id])
      expect([watch.starts.get(first.session_id ?? ''), watch.starts.get(again.session_id ?? '')]).toEqual([
        1, 1,
      ])
      await noContainersLeft(runnerIds)
      await until('every slot is free', async () => (await tenant.pool()).stats.slots_busy === 0)
      expect(await tenant.get(id)).toEqual(run)
      expect(endsAmong(await tenant.eventsToEnd(id))).toHaveLength(1)
    }
    return { sleeper, line, lastSentAt, sessionId: first.session_id, settle }
  }

  test('ends its session by itself once it goes on, within the bound of every lease', async context => {
    const { expect } = context
    const { sleeper, line, lastSentAt, sessionId, settle } = await bothAttemptsRun(context)
    line.isOpen = false
    const wentOnAt = Date.now()
    sleeper.signal('SIGCONT')
    const endedAt = await until('its container has ended', () => lifeOf(sessionId)?.endedAt)
    const dueAt = Math.max(wentOnAt, lastSentAt + TTL_MS + KILL_MS)
    expect(endedAt).toBeLessThanOrEqual(dueAt + SLACK_MS)
    // Removed it is only when the control plane has said so.
    line.verdicts.length = 0
    line.isOpen = true
    const said = await until('it is heard again', () =>
      line.verdicts.find(verdict => verdict.sessionId === sessionId),
    )
    expect(said.verdict).toBe('forget')
    await settle()
  })

  test('is told to stop its session by the answer to the first thing it says', async context => {
    const { expect } = context
    const { sleeper, line, sessionId, settle } = await bothAttemptsRun(context)
    line.verdicts.length = 0
    sleeper.signal('SIGCONT')
    await until('its container has ended', () => lifeOf(sessionId)?.endedAt)
    await until('it is heard again', () => line.verdicts.length > 0)
    const said = line.verdicts.filter(verdict => verdict.sessionId === sessionId)
    // `forget` where the SIGKILL was overdue and faster than the sync.
    expect(said[0]?.verdict).toMatch(/^(?:stop|forget)$/)
    await settle()
  })
})
