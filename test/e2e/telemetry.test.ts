import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import {
  CONTROL_PLANE_INSTRUMENTS,
  CONTROL_PLANE_METER,
  POOL_COUNTERS,
  POOL_GAUGES,
  POOL_INSTRUMENTS,
  WORKER_INSTRUMENTS,
} from '../../durable-objects/telemetry/instruments.ts'
import { ViewerTicket } from '../../protocol/live.ts'
import { Run } from '../../protocol/run.ts'
import { mintSecret } from '../../protocol/secrets.ts'
import { decodeFrame, encodeFrame, ToViewer } from '../../protocol/stream.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { letEnd } from '../support/jobs.ts'
import { OtlpReceiver } from '../support/otlp-receiver.ts'
import { Daemon } from '../support/runner.ts'
import { opened, SpokenRunner } from '../support/spoken-runner.ts'
import { until } from '../support/until.ts'

/** The built Worker on workerd, its objects on disk, and a receiver that decodes what they export. */

const HEADERS_SECRET = 'canary-of-the-otlp-headers'
const SESSION = { max_attempts: 1, stream: true, image: 'certyn/none:1', command: ['true'] }

let receiver: OtlpReceiver
let controlPlane: ControlPlane

beforeAll(async () => {
  receiver = await OtlpReceiver.start()
  controlPlane = await new ControlPlane({
    ...exportSettings(),
    Features__SelfHostedRelayEnabled: 'true',
    SelfHosted__LeaseTtlSeconds: '5',
    SelfHosted__LeaseGraceSeconds: '1',
    SelfHosted__RelayConnectTimeoutSeconds: '1',
  }).start()
})

afterAll(async () => {
  await controlPlane.stop()
  await receiver.stop()
})

function exportSettings() {
  return {
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${HEADERS_SECRET}`,
  }
}

async function watch(tenant: Tenant, runId: string): Promise<WebSocket> {
  const { url, ticket } = await tenant.api.post(
    `/runs/${runId}/viewer-tickets`,
    { mode: 'view' },
    ViewerTicket,
  )
  return opened(new WebSocket(url.replace(/^http/, 'ws'), ['certyn.stream.v1', `certyn.ticket.${ticket}`]))
}

/** A viewer that acknowledges when the test says so. */
class Watcher {
  readonly socket: WebSocket
  readonly frames: number[] = []
  skipped = 0

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) return void this.frames.push(decodeFrame(data)?.seq ?? 0)
      const message = ToViewer.parse(JSON.parse(data.toString()))
      if (message.type === 'gap') this.skipped += message.skipped
    })
  }

  ack(seq: number): void {
    this.socket.send(JSON.stringify({ type: 'ack', seq }))
  }
}

/** Waits until the receiver has so many, and for what would be too many. */
async function counts(name: string, value: number, where: Record<string, unknown>): Promise<void> {
  await until(`${name} is ${value}`, () => receiver.total(name, where, CONTROL_PLANE_METER) >= value)
  expect(receiver.total(name, where, CONTROL_PLANE_METER), name).toBe(value)
}

describe('the control plane', () => {
  test('counts 201 syncs as 201, and how long they took, by the pool, though it is restarted at once', async () => {
    const tenant = await controlPlane.tenant()
    const pool = { pool: tenant.poolId }
    const runner = await SpokenRunner.join(controlPlane, tenant)
    for (let count = 0; count < 201; count++) await runner.sync()
    await controlPlane.stop()
    await controlPlane.start()
    await counts(WORKER_INSTRUMENTS.syncRequests.name, 201, pool)
    await counts(WORKER_INSTRUMENTS.syncDuration.name, 201, pool)
    expect(receiver.total(WORKER_INSTRUMENTS.syncFailures.name, pool)).toBe(0)
  })

  test('counts a sync with a credential of nobody as a failure, and lets nobody invent pools', async () => {
    const tenant = await controlPlane.tenant()
    const runner = await SpokenRunner.join(controlPlane, tenant)
    const before = receiver.total(WORKER_INSTRUMENTS.syncFailures.name, { 'error.type': 'unauthenticated' })
    expect((await runner.trySync([], mintSecret('runnerCredential'))).status).toBe(401)
    await counts(WORKER_INSTRUMENTS.syncFailures.name, before + 1, { 'error.type': 'unauthenticated' })
    for (const name of ['syncRequests', 'syncFailures'] as const) {
      expect(receiver.points(WORKER_INSTRUMENTS[name].name, { pool: tenant.poolId })).toEqual([])
    }
  })

  test('counts one registration that is refused, by the pool and the reason', async () => {
    const tenant = await controlPlane.tenant()
    const token = mintSecret('registrationToken')
    const answer = await SpokenRunner.register(controlPlane.url, tenant.poolId, token, randomUUID())
    expect(answer.status).toBe(401)
    const where = { pool: tenant.poolId, 'error.type': 'unauthenticated' }
    await counts(WORKER_INSTRUMENTS.registrationFailures.name, 1, where)
  })

  test('counts one relay that never connects, one that does, and the frames a slow viewer is not given', async () => {
    const tenant = await controlPlane.tenant()
    const pool = { pool: tenant.poolId }
    const runner = await SpokenRunner.join(controlPlane, tenant)
    const { id } = await tenant.run(SESSION)
    const [offer] = await runner.takeAll()
    if (offer === undefined) throw new Error('an offer was expected')
    const renewing = setInterval(() => {
      void runner.sync([{ session_id: offer.session_id, state: 'running' }])
    }, 1_000)
    onTestFinished(() => clearInterval(renewing))
    const first = await watch(tenant, id)
    const code = await new Promise(resolve => first.on('close', resolve))
    expect(code).toBe(4408)
    const publisher = await runner.publish(offer.session_id)
    const slow = new Watcher(await watch(tenant, id))
    const quick = new Watcher(await watch(tenant, id))
    for (let seq = 1; seq <= 5; seq++) {
      publisher.send(encodeFrame({ seq, capturedAtMs: Date.now(), image: Buffer.from('picture') }))
      await until(`frame ${seq} has come`, () => quick.frames.includes(seq))
      quick.ack(seq)
    }
    expect(slow.frames).toEqual([1, 2])
    slow.ack(2)
    await until('the newest frame has come', () => slow.frames.includes(5))
    expect(slow.skipped).toBe(2)
    for (const { socket } of [slow, quick]) socket.close()
    publisher.close()
    await counts(POOL_COUNTERS.relayFramesDropped.name, 2, pool)
    await counts(POOL_COUNTERS.relayTimeouts.name, 1, pool)
    await counts(POOL_COUNTERS.relayConnections.name, 2, pool)
    await runner.sync([
      { session_id: offer.session_id, state: 'exited', exit: { code: 0, reason: 'exited' } },
    ])
  })

  test('counts three leases that expire, through a crash before they were delivered', async () => {
    const tenant = await controlPlane.tenant()
    const pool = { pool: tenant.poolId }
    const runner = await SpokenRunner.join(controlPlane, tenant, 3)
    const runs = [await tenant.run(SESSION), await tenant.run(SESSION), await tenant.run(SESSION)]
    expect(await runner.takeAll()).toHaveLength(3)
    receiver.mood = 'failing'
    for (const { id } of runs) expect((await tenant.ends(id)).failure?.code).toBe('lease_expired')
    await controlPlane.killGroup()
    receiver.mood = 'well'
    await controlPlane.start()
    await tenant.pool()
    await counts(POOL_COUNTERS.leasesExpired.name, 3, pool)
    expect(receiver.wrong).toEqual([])
  })

  test('counts no lease twice where the answer of the back end gets lost', async () => {
    const tenant = await controlPlane.tenant()
    const runner = await SpokenRunner.join(controlPlane, tenant, 1)
    const { id } = await tenant.run(SESSION)
    await runner.takeAll()
    receiver.mood = 'forgetful'
    await tenant.ends(id)
    await until(
      'it was sent',
      () => receiver.total(POOL_COUNTERS.leasesExpired.name, { pool: tenant.poolId }) === 1,
    )
    const repeated = receiver.repeated
    await until('it was sent again', () => receiver.repeated > repeated)
    receiver.mood = 'well'
    await counts(POOL_COUNTERS.leasesExpired.name, 1, { pool: tenant.poolId })
  })

  test('answers every call while a back end that never answers is waited for, and tells it everything later', async () => {
    const tenant = await controlPlane.tenant()
    const runner = await SpokenRunner.join(controlPlane, tenant, 1)
    receiver.mood = 'hanging'
    onTestFinished(() => {
      receiver.mood = 'well'
    })
    let syncs = 0
    const sync = async () => {
      await runner.sync()
      syncs += 1
    }
    for (const call of [sync, () => tenant.run(SESSION), () => tenant.pool()]) {
      await until('an export waits for its answer', async () => {
        await sync()
        return receiver.unanswered > 0
      })
      await call()
      expect(receiver.unanswered).toBeGreaterThan(0)
    }
    receiver.mood = 'well'
    // What a request has given up on is taken on by the next one.
    const { name } = WORKER_INSTRUMENTS.syncRequests
    await until('all syncs are counted', async () => {
      await tenant.pool()
      return receiver.total(name, { pool: tenant.poolId }, CONTROL_PLANE_METER) >= syncs
    })
    await counts(name, syncs, { pool: tenant.poolId })
  })

  test('says what becomes of a run, and how the pool is', async () => {
    const tenant = await controlPlane.tenant()
    const pool = { pool: tenant.poolId }
    const created = Date.now() / 1000
    await until('the pool was introduced', () => receiver.latest(POOL_GAUGES.createdAt.name, pool))
    expect(Math.abs((receiver.latest(POOL_GAUGES.createdAt.name, pool) ?? 0) - created)).toBeLessThan(60)
    const runner = await SpokenRunner.join(controlPlane, tenant, 2)
    await tenant.run(SESSION)
    await until('a sample was taken', () => receiver.latest(POOL_GAUGES.queueDepth.name, pool) === 1)
    const gauge = (key: keyof typeof POOL_GAUGES) => receiver.latest(POOL_GAUGES[key].name, pool)
    expect({
      depth: gauge('queueDepth'),
      slots: gauge('slotsTotal'),
      busy: gauge('slotsBusy'),
      online: gauge('runnersOnline'),
      total: gauge('runnersTotal'),
      behind: gauge('runnersBehind'),
      viewers: gauge('relayViewers'),
    }).toEqual({ depth: 1, slots: 2, busy: 0, online: 1, total: 1, behind: 0, viewers: 0 })
    const [offer] = await runner.takeAll()
    const exit = { code: 3, reason: 'exited' } as const
    await runner.sync([{ session_id: offer?.session_id ?? '', state: 'exited', exit }])
    await counts(POOL_INSTRUMENTS.runsEnded.name, 1, {
      ...pool,
      status: 'failed',
      'error.type': 'non_zero_exit',
    })
    await counts(POOL_INSTRUMENTS.pickupDuration.name, 1, pool)
    for (const state of ['queued', 'offered', 'running']) {
      await counts(POOL_INSTRUMENTS.stateDuration.name, 1, { ...pool, state })
    }
  })

  test('a run is one trace, from the call that creates it to its job, over a restart of the daemon', async () => {
    // Its leases last while a busy machine starts the daemon again.
    const patient = await new ControlPlane(exportSettings()).start()
    onTestFinished(() => patient.stop())
    const tenant = await patient.tenant()
    const env = { ...exportSettings(), RUNNER_EXECUTOR: 'host' }
    const daemon = await (await Daemon.of(patient, tenant, { name: 'traced', env })).online(tenant)
    const caller = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) }
    const answer = await fetch(`${patient.url}/api/v1/environments/${tenant.environmentId}/runs`, {
      method: 'POST',
      headers: {
        ...tenant.api.headers,
        'content-type': 'application/json',
        traceparent: `00-${caller.traceId}-${caller.spanId}-01`,
      },
      body: JSON.stringify({
        image: 'certyn/none:1',
        command: [
          '/bin/sh',
          '-c',
          'echo "told $TRACEPARENT"; until [ -e artifacts/go ]; do sleep 0.1; done; exit 3',
        ],
      }),
    })
    const { id } = Run.parse(await answer.json())
    const running = await tenant.reaches(id, 'running')
    await daemon.end('SIGKILL')
    await daemon.online(tenant)
    letEnd(daemon.stateDir, running.session_id ?? '')
    await tenant.ends(id)
    await daemon.end('SIGTERM')

    const ofTrace = () => receiver.spans.filter(span => span.traceId === caller.traceId)
    await until('both spans have come', () => ofTrace().length === 2)
    const [call, session] = ofTrace().sort((a, b) => (a.startTimeUnixNano < b.startTimeUnixNano ? -1 : 1))
    expect(call).toMatchObject({
      service: 'certyn-control-plane',
      name: 'POST /api/v1/environments/{environment_id}/runs',
      parentSpanId: caller.spanId,
      attributes: { 'http.response.status_code': 201 },
    })
    expect(session).toMatchObject({
      service: 'certyn-runner',
      name: 'session',
      parentSpanId: call?.spanId,
      attributes: { 'certyn.run_id': id, 'certyn.session_id': running.session_id, 'process.exit.code': 3 },
      status: { code: 2 },
    })
    const log = await (await tenant.api.fetch(`/runs/${id}/logs`)).text()
    expect(log).toMatch(new RegExp(`told 00-${caller.traceId}-${session?.spanId}-0[13]$`, 'm'))
    expect(receiver.spans.filter(({ name }) => name.includes('/runner/') || name.includes('fetch'))).toEqual(
      [],
    )
  })

  test('exports every instrument with its name, unit, kind and meaning, and what it exports is OTLP', async () => {
    expect(receiver.wrong).toEqual([])
    for (const { name, kind, unit, description, attributes } of CONTROL_PLANE_INSTRUMENTS) {
      const points = receiver.points(name, {}, CONTROL_PLANE_METER)
      expect(points.length, name).toBeGreaterThan(0)
      for (const { metric, resource, point } of points) {
        expect(metric).toMatchObject({ type: kind, unit, description })
        expect(resource).toMatchObject({ 'service.name': 'certyn-control-plane' })
        expect(resource['service.instance.id']).toMatch(/./)
        expect(attributes).toEqual(expect.arrayContaining(Object.keys(point.attributes)))
      }
    }
    const known = new Set(CONTROL_PLANE_INSTRUMENTS.map(({ name }) => name))
    const others = receiver.received.filter(({ scope, metric }) => {
      return scope === CONTROL_PLANE_METER && !known.has(metric.name)
    })
    expect(others).toEqual([])
    expect(receiver.headers.every(headers => headers['x-api-key'] === HEADERS_SECRET)).toBe(true)
    expect(controlPlane.output).not.toContain(HEADERS_SECRET)
  })
})
