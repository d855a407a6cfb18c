import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, type TestContext, test } from 'vitest'
import type { LeaseReport, SyncRequest, SyncResponse } from '../../protocol/runner-api.ts'
import { ControlPlane, endsAmong } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage, watchStarts } from '../support/engine.ts'
import { JOBS, letEnd } from '../support/jobs.ts'
import { type Crossing, type Fate, KillableDaemon, type Progress } from '../support/killable-daemon.ts'
import { type Registry, startRegistry } from '../support/registry.ts'
import { until } from '../support/until.ts'

/**
 * kill -9 of the daemon at every step of a session's life: before each call it makes, after the call took effect and
 * before its reply arrives, and on both sides of every write of its journal. No step is reached by waiting.
 *
 * Wherever it dies, the next daemon brings the run to its one true end, in the same session: the job is never started
 * twice, and nothing is left of it. The only exceptions are the points at which the session is lost before anything
 * of it ran; they say what ends it, and the run's next attempt is the first that runs.
 */

type Point = Fate & { readonly point: string; readonly lost?: 'engine_error' | 'runner_lost_session' }
type Predicate = (crossing: Crossing) => boolean

function engineCall(method: string, path: RegExp, when?: (progress: Progress) => boolean) {
  return (crossing: Crossing, isReply: boolean): boolean =>
    crossing.to === 'engine' &&
    crossing.call.method === method &&
    path.test(crossing.call.path) &&
    (crossing.call.reply !== null) === isReply &&
    (when?.(crossing.progress) ?? true)
}

function syncThat(says: (request: SyncRequest, reply: SyncResponse | null) => boolean) {
  return (crossing: Crossing, isReply: boolean): boolean =>
    crossing.to === 'control plane' &&
    (crossing.reply !== null) === isReply &&
    says(crossing.request, crossing.reply)
}

function lists(state?: LeaseReport['state']) {
  return syncThat(({ leases }) => leases.some(lease => state === undefined || lease.state === state))
}

type Call = ReturnType<typeof syncThat>
const before = (call: Call): { killAt: Predicate } => ({ killAt: crossing => call(crossing, false) })
const after = (call: Call): { killAt: Predicate } => ({ killAt: crossing => call(crossing, true) })
/** So that the session is no further in the Engine than the point says. */
const holding = (call: Call): { holdAt: Predicate } => ({ holdAt: crossing => call(crossing, false) })
const onBothSides = (name: string, call: Call): Point[] => [
  { point: `before ${name}`, ...before(call) },
  { point: `after ${name}, its reply lost`, ...after(call) },
]

const IMAGE = engineCall('GET', /^\/images\/.+\/json/)
const CREATE = engineCall('POST', /^\/containers\/create/)
const START = engineCall('POST', /^\/containers\/[^/]+\/start/)
const SIGNAL = engineCall('POST', /^\/containers\/[^/]+\/kill/)
const LOOK = /^\/containers\/certyn-[^/]+\/json/
const TO_ENGINE: readonly Point[] = [
  ...onBothSides('the look for the image', IMAGE),
  { point: 'before the create', ...before(CREATE), lost: 'engine_error' },
  { point: 'after the create, its reply lost', ...after(CREATE) },
  ...onBothSides(
    'the look before the start',
    engineCall('GET', LOOK, so => so.created && !so.started),
  ),
  ...onBothSides('the start', START),
  ...onBothSides(
    'the look after the start',
    engineCall('GET', LOOK, so => so.started && !so.ended),
  ),
  { point: 'before the wait for its end', ...before(engineCall('POST', /\/wait/)) },
  { point: 'after its end, of which it is not told', ...after(engineCall('POST', /\/wait/)) },
  ...onBothSides(
    'the look after its end',
    engineCall('GET', LOOK, so => so.ended),
  ),
  ...onBothSides('the removal', engineCall('DELETE', /^\/containers\//)),
]

const TO_CONTROL_PLANE: readonly Point[] = [
  { point: 'before the sync that would bring the offer', ...before(syncThat(() => true)) },
  {
    point: 'after the sync that brought the offer, its reply lost',
    ...after(syncThat((_, reply) => (reply?.offers.length ?? 0) > 0)),
  },
  { point: 'before the sync that lists it first', ...before(lists()), ...holding(IMAGE) },
  {
    point: 'after the sync that lists it first, its reply lost',
    ...after(lists()),
    ...holding(IMAGE),
    journaled: true,
  },
  {
    point: 'after the sync that lists it first, and before it is in the journal',
    ...after(lists()),
    journalFault: 'hold before accepted',
    lost: 'runner_lost_session',
  },
  ...onBothSides('the sync that says it runs', lists('running')),
  // The reply to this one says `forget`; what comes next is the removal.
  ...onBothSides('the sync that reports its exit', lists('exited')),
]

const TO_JOURNAL: readonly Point[] = [
  { point: 'before it is in the journal', journalFault: 'die before accepted', ...holding(lists()) },
  { point: 'after it is in the journal', journalFault: 'die after accepted' },
  { point: 'before its creation is in the journal', journalFault: 'die before creating' },
  // What was asked of the Engine is not known, so this session is never tried again.
  {
    point: 'after its creation is in the journal',
    journalFault: 'die after creating',
    lost: 'engine_error',
  },
  { point: 'before its container is in the journal', journalFault: 'die before created', ...holding(START) },
  { point: 'after its container is in the journal', journalFault: 'die after created', ...holding(START) },
  { point: 'before its end is in the journal', journalFault: 'die before ended' },
  { point: 'after its end is in the journal', journalFault: 'die after ended' },
  { point: 'before its entry is erased', journalFault: 'die before erased' },
  { point: 'after its entry was erased', journalFault: 'die after erased' },
]

const OF_A_STOP: readonly Point[] = [
  {
    point: 'after the sync that brought the order, its reply lost',
    ...after(syncThat((_, reply) => reply?.commands.some(one => one.type === 'stop_session') ?? false)),
  },
  { point: 'before the order is in the journal', journalFault: 'die before ending', ...holding(SIGNAL) },
  { point: 'after the order is in the journal', journalFault: 'die after ending', ...holding(SIGNAL) },
  { point: 'before the sync that says it is stopping', ...before(lists('stopping')), ...holding(SIGNAL) },
  {
    point: 'after the sync that says it is stopping, its reply lost',
    ...after(lists('stopping')),
    ...holding(SIGNAL),
  },
  ...onBothSides('the signal', SIGNAL),
  ...onBothSides('the sync that reports its exit', lists('exited')),
]

interface Story {
  readonly body: Readonly<Record<string, unknown>>
  /** What brings the session to its end, once the control plane knows that it is so far. */
  readonly endAt: 'running' | 'pulling'
  readonly byCancel: boolean
  readonly ends: readonly [status: string, exitCode: number | null, code: string | undefined]
  /** How often a container is started, in all. */
  readonly starts: number
}

describe.skipIf(!HAS_ENGINE).concurrent('a daemon killed', () => {
  const controlPlane = new ControlPlane()
  let image: string
  let registry: Registry
  let watch: Awaited<ReturnType<typeof watchStarts>>

  beforeAll(async () => {
    image = await nodeImage()
    registry = await startRegistry()
    watch = await watchStarts()
    await controlPlane.start()
  })
  afterAll(async () => {
    watch.stop()
    await controlPlane.stop()
    await registry.close()
  })

  async function survives(point: Point, story: Story, context: TestContext): Promise<void> {
    const tenant = await controlPlane.tenant()
    const killable = await KillableDaemon.of(controlPlane, tenant, 'killed', point)
    context.onTestFinished(() => killable.destroy())
    const created = Promise.withResolvers<string>()
    killable.onState((sessionId, state) => {
      if (state !== story.endAt) return
      if (story.byCancel) void created.promise.then(id => tenant.cancel(id))
      else letEnd(killable.daemon.stateDir, sessionId)
    })
    killable.doom()
    const { id } = await tenant.run(story.body)
    created.resolve(id)
    await killable.dies()
    await killable.startNext()
    await expectOneTrueEnd(id, point, story, killable, context)
    await expectNothingLeft(killable)
    context.expect(killable.broken).toEqual([])
    await killable.daemon.end('SIGTERM')
  }

  async function expectOneTrueEnd(
    runId: string,
    { lost }: Point,
    { ends, starts }: Story,
    { tenant }: KillableDaemon,
    { expect }: TestContext,
  ): Promise<void> {
    const run = await tenant.ends(runId)
    expect([run.status, run.exit_code, run.failure?.code], run.failure?.message).toEqual(ends)
    const events = await tenant.eventsToEnd(runId)
    expect(endsAmong(events)).toHaveLength(1)
    const again = events.filter(event => event.type === 'queued').slice(1)
    expect(again.map(event => event.detail)).toEqual(
      lost === undefined ? [] : [expect.stringContaining(`failed with ${lost}`)],
    )
    const sessions = [...new Set(events.flatMap(event => event.session_id ?? []))]
    expect([run.attempt, run.session_id]).toEqual([sessions.length, sessions.at(-1)])
    expect(sessions.map(session => watch.starts.get(session) ?? 0)).toEqual(
      lost === undefined ? [starts] : [0, starts],
    )
    expect(await tenant.get(runId)).toEqual(run)
  }

  async function expectNothingLeft({ tenant, daemon }: KillableDaemon): Promise<void> {
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    await until('the slots are free', async () => (await tenant.pool()).stats.slots_busy === 0)
    for (const name of ['journal', 'sessions']) {
      const folder = join(daemon.stateDir, name)
      await until(`no ${name} is left`, () => readdirSync(folder).length === 0)
    }
  }

  test.for([...TO_ENGINE, ...TO_CONTROL_PLANE, ...TO_JOURNAL])('$point', async (point, context) => {
    const ends = ['failed', 5, 'non_zero_exit'] as const
    const body = { image, command: JOBS.waitThenExit(5) }
    await survives(point, { body, endAt: 'running', byCancel: false, ends, starts: 1 }, context)
  })

  test.for(OF_A_STOP)('while a session is being stopped, $point', async (point, context) => {
    const ends = ['cancelled', 143, undefined] as const
    const body = { image, command: JOBS.waitThenExit(5) }
    await survives(point, { body, endAt: 'running', byCancel: true, ends, starts: 1 }, context)
  })

  test('while it pulls an image', async context => {
    const ends = ['cancelled', null, undefined] as const
    const body = { image: registry.image('slow') }
    const point = { point: 'after the sync that says it pulls', ...after(lists('pulling')) }
    await survives(point, { body, endAt: 'pulling', byCancel: true, ends, starts: 0 }, context)
  })
})
