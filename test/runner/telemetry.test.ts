import { existsSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RUNNER_INSTRUMENTS, RUNNER_METER } from '../../runner/telemetry/instruments.ts'
import { OtlpReceiver } from '../support/otlp-receiver.ts'
import { aJob, anOffer, commandId, sessionId } from './support/factories.ts'
import { FakeControlPlane, POOL } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

const HEADERS_SECRET = 'canary-of-the-otlp-headers'

let plane: FakeControlPlane
let receiver: OtlpReceiver
let directory: string
let runners: RunnerProcess[]

beforeEach(async () => {
  plane = await FakeControlPlane.start()
  receiver = await OtlpReceiver.start()
  directory = temporaryDirectory()
  runners = []
})

afterEach(async () => {
  for (const runner of runners) await runner.destroy()
  await plane.stop()
  await receiver.stop()
  removeDirectory(directory)
})

function start(change: Readonly<Record<string, string>> = {}): RunnerProcess {
  const settings = {
    ...settingsFor(plane, directory, 'host'),
    MAX_CONCURRENCY: '3',
    RUNNER_NAME: 'eastern',
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer%20${HEADERS_SECRET}`,
    ...change,
  }
  const runner = new RunnerProcess(settings)
  runners.push(runner)
  return runner
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

describe('a runner that exports by OTLP', () => {
  test('sends every instrument once more at its end, with exact values', async () => {
    plane.registerFaults = [{ refuse: 'overloaded' }]
    plane.syncFaults = [{ refuse: 'overloaded' }, 'cut']
    const runner = start()
    await until('both syncs have failed', () => plane.syncFaults.length === 0)
    plane.offer(anOffer('a', { job: aJob({ command: ['/bin/sh', '-c', 'sleep 600'], stream: true }) }))
    await until('the session runs', () => plane.lease(sessionId('a'))?.state === 'running')
    runner.kill('SIGTERM')
    expect(await runner.ended()).toBe(0)

    expect(receiver.wrong).toEqual([])
    const answered = new Set(plane.syncs.map(({ seq }) => seq)).size
    const duration = RUNNER_INSTRUMENTS.syncDuration.name
    expect(receiver.total(duration)).toBe(receiver.total(duration, { pool: POOL }))
    expect(receiver.total(duration)).toBeGreaterThanOrEqual(answered)
    expect(receiver.total(RUNNER_INSTRUMENTS.registrationFailures.name)).toBe(1)
    expect(receiver.total(RUNNER_INSTRUMENTS.registrationFailures.name, { 'error.type': 'overloaded' })).toBe(
      1,
    )
    expect(receiver.total(RUNNER_INSTRUMENTS.syncFailures.name)).toBe(2)
    expect(receiver.total(RUNNER_INSTRUMENTS.syncFailures.name, { 'error.type': 'unreachable' })).toBe(1)
    expect(receiver.total(RUNNER_INSTRUMENTS.relayFailures.name)).toBe(0)
    expect(receiver.total(RUNNER_INSTRUMENTS.orphansRemoved.name)).toBe(0)
    expect(receiver.latest(RUNNER_INSTRUMENTS.slotsTotal.name)).toBe(3)
    expect(receiver.latest(RUNNER_INSTRUMENTS.slotsBusy.name)).toBe(1)
    for (const { name, kind, unit, description } of Object.values(RUNNER_INSTRUMENTS)) {
      const [point] = receiver.points(name)
      expect(point, name).toMatchObject({
        scope: RUNNER_METER,
        metric: { name, type: kind, unit, description },
        resource: { 'service.name': 'certyn-runner', 'service.instance.id': `${POOL}/eastern` },
      })
    }
    expect(receiver.headers[0]?.authorization).toBe(`Bearer ${HEADERS_SECRET}`)
    expect(JSON.stringify(runner.log) + runner.stderr).not.toContain(HEADERS_SECRET)
  })

  test('counts a line to a relay that breaks', async () => {
    const runner = start()
    const said = (msg: string) => runner.log.filter(line => line.msg?.startsWith(msg)).length
    await until('it takes work', () => plane.lastSync?.inventory === 'complete')
    plane.offer(anOffer('a', { job: aJob({ command: ['/bin/sh', '-c', 'sleep 600'], stream: true }) }))
    await until('the session runs', () => plane.lease(sessionId('a'))?.state === 'running')
    plane.command({ id: commandId('a'), type: 'open_stream', session_id: sessionId('a') })
    await until('the relay is connected', () => said('relay connected') === 1)
    plane.cutDoorbells()
    await until('it is connected again', () => said('relay connected') === 2)
    runner.kill('SIGTERM')
    expect(await runner.ended()).toBe(0)
    expect(receiver.total(RUNNER_INSTRUMENTS.relayFailures.name)).toBe(said('relay connection lost'))
    expect(said('relay connection lost')).toBe(1)
  })

  test('removes what nobody spoke of, and counts it', async () => {
    const first = start()
    await until('it takes work', () => plane.lastSync?.inventory === 'complete')
    plane.offer(anOffer('a', { job: aJob({ command: ['/bin/sh', '-c', 'sleep 600'] }) }))
    await until('the session runs', () => plane.lease(sessionId('a'))?.state === 'running')
    first.kill('SIGKILL')
    await first.ended()
    rmSync(join(directory, 'journal', `${sessionId('a')}.json`))
    plane.reply = { ...plane.reply, leases: [{ session_id: sessionId('a'), verdict: 'stop' }] }
    const second = start()
    await until('it is gone', () => !existsSync(join(directory, 'host', sessionId('a'))))
    second.kill('SIGTERM')
    expect(await second.ended()).toBe(0)
    expect(receiver.total(RUNNER_INSTRUMENTS.orphansRemoved.name)).toBe(1)
  })

  test('works and ends in time with a back end that never answers', async () => {
    receiver.mood = 'hanging'
    const runner = start()
    await until('it takes work', () => plane.lastSync?.inventory === 'complete')
    plane.offer(anOffer('a', { job: aJob({ command: ['/bin/true'] }) }))
    await until('the session has ended', () => plane.exits.has(sessionId('a')))
    const began = performance.now()
    runner.kill('SIGTERM')
    expect(await runner.ended()).toBe(0)
    expect(performance.now() - began).toBeLessThan(10_000)
    expect(receiver.requests).toBeGreaterThan(0)
  })
})

describe('Prometheus', () => {
  test('reads the same numbers on loopback, and nobody else does', async () => {
    const port = await freePort()
    start({ OTEL_EXPORTER_OTLP_ENDPOINT: '', RUNNER_METRICS_PORT: String(port) })
    await until('it takes work', () => plane.lastSync?.inventory === 'complete')
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    expect(page).toMatch(
      new RegExp(
        `^self_hosted_runner_slots_total\\{pool="${POOL}",otel_scope_name="${RUNNER_METER}"[^}]*\\} 3$`,
        'm',
      ),
    )
    expect(page).toMatch(/^self_hosted_runner_registration_failures_total\{[^}]*\} 0$/m)
    expect(page).toMatch(/^self_hosted_runner_sync_duration_count\{[^}]*\} [1-9]/m)
    expect(receiver.requests).toBe(0)
  })

  test('is given up where the port is taken, and the runner works', async () => {
    const runner = start({ RUNNER_METRICS_PORT: String(plane.port) })
    await until('it takes work', () => plane.lastSync?.inventory === 'complete')
    expect(runner.log).toContainEqual(
      expect.objectContaining({ msg: 'metrics cannot be served to Prometheus', port: plane.port }),
    )
  })
})

test.for([
  ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
  ['OTEL_EXPORTER_OTLP_ENDPOINT', 'https://user:canary@collector'],
  ['OTEL_EXPORTER_OTLP_HEADERS', 'canary'],
  ['OTEL_EXPORTER_OTLP_HEADERS', 'authorization=%canary'],
  ['RUNNER_METRICS_PORT', '65536'],
])('%s=%s stops it at once and is named, not shown', async ([name, value]) => {
  const runner = start({ [name as string]: value as string })
  expect(await runner.ended()).toBe(1)
  expect(runner.stderr).toContain(`${name}: expected`)
  expect(runner.stderr).not.toContain('canary')
})
