import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { buildDashboard } from '../../scripts/build/dashboard.ts'
import { ROOT } from '../support/process.ts'

const place = mkdtempSync(path.join(tmpdir(), 'dashboard-'))
afterAll(() => rmSync(place, { recursive: true }))

test('a build that changes nothing leaves what is served where it is, and another takes its place', async () => {
  const folder = await buildDashboard(ROOT, path.join(place, 'dashboard'))
  const { ino } = statSync(folder)
  await buildDashboard(ROOT, folder)
  expect(statSync(folder).ino).toBe(ino)
  rmSync(path.join(folder, 'live', 'index.html'))
  await buildDashboard(ROOT, folder)
  expect(statSync(path.join(folder, 'live', 'index.html')).size).toBeGreaterThan(0)
})
