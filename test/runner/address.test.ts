import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { selfSigned } from './support/certificate.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

/** CONTROL_PLANE_URL as people write it. */

let directory: string
let plane: FakeControlPlane
let runners: RunnerProcess[]

beforeEach(() => {
  directory = temporaryDirectory()
  runners = []
})

afterEach(async () => {
  for (const runner of runners) await runner.destroy()
  await plane.stop()
  removeDirectory(directory)
})

function start(url: string): RunnerProcess {
  const settings = settingsFor(plane, join(directory, 'state'), 'host')
  const runner = new RunnerProcess({ ...settings, CONTROL_PLANE_URL: url })
  runners.push(runner)
  return runner
}

async function complaintOf(runner: RunnerProcess): Promise<unknown> {
  await until('the complaint', () => runner.logged('registration failed'))
  return runner.logged('registration failed')?.error
}

test('a control plane below a path of a proxy is reached there, by calls and by the doorbell', async () => {
  plane = await FakeControlPlane.start()
  plane.prefix = '/ci/certyn'
  const first = start(`${plane.url}/ci/certyn`)
  await until('a sync', () => plane.lastSync?.inventory === 'complete')
  await until('a doorbell', () => plane.doorbellsOpened > 0)
  await first.destroy()
  // With a slash it is the same address, so the credential is good for it.
  const boot = plane.lastSync?.boot ?? 0
  start(`${plane.url}/ci/certyn/`)
  await until('a sync of the second daemon', () => (plane.lastSync?.boot ?? 0) > boot)
  expect(plane.registrations).toHaveLength(1)
})

test('a path where there is no control plane is said to be none', async () => {
  plane = await FakeControlPlane.start()
  plane.prefix = '/ci/certyn'
  expect(await complaintOf(start(plane.url))).toMatch(/answered 404.*check that CONTROL_PLANE_URL/)
})

test('https:// where plain HTTP is spoken is told from a certificate or a firewall', async () => {
  plane = await FakeControlPlane.start()
  const complaint = await complaintOf(start(plane.url.replace('http:', 'https:')))
  expect(complaint).toMatch(/wrong version number.*plain HTTP is spoken where https:\/\/ was asked for/)
  expect(complaint).toMatch(/CONTROL_PLANE_URL/)
})

test('http:// where TLS is spoken is told with the scheme to use', async () => {
  plane = await FakeControlPlane.start(selfSigned(directory, 'IP:127.0.0.1'))
  const complaint = await complaintOf(start(plane.url))
  expect(complaint).toMatch(/if TLS is spoken at this port, write CONTROL_PLANE_URL with https:\/\//)
})
