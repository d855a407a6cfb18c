import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { kernelBootId } from '../../runner/clock.ts'
import { Journal } from '../../runner/state/journal.ts'
import { StateDirectory } from '../../runner/state/state-directory.ts'
import { anEntry } from './support/factories.ts'
import { removeDirectory, temporaryDirectory } from './support/runner-process.ts'

/** Times on the monotonic clock mean nothing once it has begun anew: those of another boot are not believed. */

let directory: string

beforeEach(() => {
  directory = temporaryDirectory()
})
afterEach(() => removeDirectory(directory))

const TIMES = { offer: { sentAtMs: 1000, deadlineMs: 21_000 }, startedAtMs: 5000 }
const NONE = { offer: null, startedAtMs: null }

test.each([
  ['the same boot', 'one', 'one', TIMES],
  ['another boot', 'one', 'two', NONE],
  ['a kernel that does not say', '', '', NONE],
])('a journal of %s', async (_, wrote, reads, times) => {
  mkdirSync(join(directory, 'journal'))
  const journalOf = (kernel: string) => new Journal(join(directory, 'journal'), kernel)
  const entry = anEntry('a', { step: 'created', started_at: '2026-11-23T00:00:01Z', ...TIMES })
  await journalOf(wrote).write(entry)
  expect(journalOf(reads).restore().entries).toEqual([{ ...entry, ...times }])
})

test('a journal of an earlier release, which did not write the start down, is read', async () => {
  mkdirSync(join(directory, 'journal'))
  const { startedAtMs: _, ...entry } = anEntry('a')
  writeFileSync(
    join(directory, 'journal', `${entry.session_id}.json`),
    JSON.stringify({ kernel: 'one', ...entry }),
  )
  expect(new Journal(join(directory, 'journal'), 'one').restore()).toEqual({
    entries: [anEntry('a')],
    unusable: [],
  })
})

test.each([
  ['this boot', kernelBootId(), { sentAtMs: 1000, leaseTtlMs: 45_000 }],
  ['another boot', 'another', null],
  ['a kernel that does not say', '', null],
])('the last sync of %s', async (_, kernel, expected) => {
  const state = await StateDirectory.open(directory)
  const file = { kernel, sent_at_ms: 1000, lease_ttl_ms: 45_000 }
  writeFileSync(join(directory, 'last-sync.json'), JSON.stringify(file))
  expect(state.lastSync({ warn: () => undefined })).toEqual(expected)
  state.release()
})
