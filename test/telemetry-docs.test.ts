import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { CONTROL_PLANE_INSTRUMENTS, CONTROL_PLANE_METER } from '../durable-objects/telemetry/instruments.ts'
import { RUNNER_INSTRUMENTS, RUNNER_METER } from '../runner/telemetry/instruments.ts'

const DOCUMENT = readFileSync(new URL('../docs/telemetry.md', import.meta.url), 'utf8')

/** The table under the line that names the meter. */
function tableOf(meter: string): string[][] {
  const section = DOCUMENT.split('\n## ').find(text => text.includes(`Meter \`${meter}\``)) ?? ''
  const rows = section.split('\n').filter(line => line.startsWith('|'))
  return rows.slice(2).map(row =>
    row
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim()),
  )
}

describe('docs/telemetry.md', () => {
  test.for([
    [CONTROL_PLANE_METER, CONTROL_PLANE_INSTRUMENTS],
    [RUNNER_METER, Object.values(RUNNER_INSTRUMENTS)],
  ] as const)('lists every instrument of %s as it is in the code', ([meter, instruments]) => {
    const expected = instruments.map(({ name, kind, unit, attributes, description }) => {
      const names = attributes.length === 0 ? 'none' : attributes.map(one => `\`${one}\``).join(', ')
      return [`\`${name}\``, kind, `\`${unit}\``, names, description]
    })
    expect(tableOf(meter)).toEqual(expected)
  })

  test('names the instruments of the product under the names they are charted by', () => {
    const names = (meter: string) => tableOf(meter).map(([name]) => name)
    expect(names(CONTROL_PLANE_METER)).toEqual(
      expect.arrayContaining([
        '`self_hosted.runner.sync.requests`',
        '`self_hosted.runner.sync.failures`',
        '`self_hosted.runner.sync.duration`',
        '`self_hosted.relay.connections`',
        '`self_hosted.relay.connections.timeouts`',
        '`self_hosted.cleanup.leases.expired`',
        '`self_hosted.pool.created_at`',
      ]),
    )
    expect(names(RUNNER_METER)).toEqual(
      expect.arrayContaining([
        '`self_hosted.runner.registration.failures`',
        '`self_hosted.runner.sync.failures`',
        '`self_hosted.runner.sync.duration`',
        '`self_hosted.runner.relay.failures`',
      ]),
    )
  })
})
