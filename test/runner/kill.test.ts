import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SESSION_STATES } from '../../protocol/runner-api.ts'
import { aJob, anOffer, sessionId } from './support/factories.ts'
import { FakeControlPlane } from './support/fake-control-plane.ts'
import {
  RunnerProcess,
  removeDirectory,
  settingsFor,
  temporaryDirectory,
  until,
} from './support/runner-process.ts'

/** The daemon dies as by kill -9 at each step of a session; another takes its place. */

let plane: FakeControlPlane
let directory: string
let runners: RunnerProcess[]

beforeEach(async () => {
  plane = await FakeControlPlane.start()
  plane.reply = { next_sync_in_ms: 200, lease_ttl_ms: 30_000 }
  directory = temporaryDirectory()
  runners = []
})

afterEach(async () => {
  for (const runner of runners) await runner.destroy()
  await plane.stop()
  removeDirectory(directory)
})

function start(): RunnerProcess {
  const runner = new RunnerProcess(settingsFor(plane, directory, 'host'))
  runners.push(runner)
  return runner
}

async function isAtRest(): Promise<void> {
  await until(
    'an empty inventory',
    () => plane.lastSync?.inventory === 'complete' && plane.lastSync.leases.length === 0,
  )
  for (const name of ['journal', 'sessions', 'host']) expect(readdirSync(join(directory, name))).toEqual([])
}

function offerCounted(): string {
  const count = join(directory, 'count')
  const job = aJob({ command: ['/bin/sh', '-c', `echo x >> ${count}; sleep 0.3; exit 4`] })
  plane.offer(anOffer('a', { job, offer_ttl_ms: 30_000 }))
  return count
}

describe.each(SESSION_STATES.filter(state => state !== 'stopping' && state !== 'pulling'))(
  'killed when it says %s',
  state => {
    test('the run is done once and ends once, with its own result', async () => {
      const first = start()
      await until('a runner that takes work', () => plane.lastSync?.inventory === 'complete')
      let killed = false
      plane.onSync = request => {
        if (killed || request.leases[0]?.state !== state) return
        killed = true
        first.kill('SIGKILL')
      }
      const count = offerCounted()
      // A state may pass between two syncs; then there is nothing to kill at, and the run simply ends.
      await until('the kill or the end', () => killed || plane.exits.size > 0)
      await first.destroy()
      start()
      await until('the end', () => plane.exits.has(sessionId('a')))
      const exit = plane.exits.get(sessionId('a'))?.exit
      const runs = existsSync(count) ? readFileSync(count, 'utf8') : ''
      expect(runs.length).toBeLessThanOrEqual('x\n'.length)
      // Where the command may have been started and no trace of it is left, it is not started again.
      if (exit?.reason !== 'engine_error') expect(exit).toMatchObject({ code: 4, reason: 'exited' })
      await isAtRest()
    })
  },
)

test('killed at any moment, again and again, the run is never done twice', async () => {
  for (let round = 0; round < 8; round++) {
    const runner = start()
    const syncs = plane.syncs.length
    await until('a sync', () => plane.syncs.length > syncs)
    const count = round === 0 ? offerCounted() : join(directory, 'count')
    // The moment is any moment: whatever has happened by then, what is expected is the same.
    await new Promise(resolve => setTimeout(resolve, round * 17))
    await runner.destroy()
    if (existsSync(count)) expect(readFileSync(count, 'utf8')).toBe('x\n')
  }
  start()
  await until('the end', () => plane.exits.has(sessionId('a')))
  await isAtRest()
})
