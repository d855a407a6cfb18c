import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Artifacts } from '../../protocol/session-files.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { node } from '../support/jobs.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** What a session leaves, from a real container to what the API gives back. */

/** Everything that is on a line behind its time and its stream. */
function textOf(log: string, stream?: 'stdout' | 'stderr'): string {
  return log
    .split('\n')
    .flatMap(line => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) (.*)$/s.exec(line) ?? [])
    .reduce<string[]>((lines, part, at, all) => {
      if (at % 3 === 2 && (stream === undefined || all[at - 1] === stream)) lines.push(part)
      return lines
    }, [])
    .join('\n')
}

describe.skipIf(!HAS_ENGINE)('what a session leaves', () => {
  const controlPlane = new ControlPlane()
  let image: string
  let tenant: Tenant
  let daemon: Daemon

  beforeAll(async () => {
    image = await nodeImage()
    await controlPlane.start()
    tenant = await controlPlane.tenant()
    daemon = await Daemon.of(controlPlane, tenant, { name: 'collects', slots: 4 })
    await daemon.online(tenant)
  })
  afterAll(async () => {
    await daemon.end('SIGTERM')
    await controlPlane.stop()
  })

  const fetchOf = (id: string, path: string) => tenant.api.fetch(`/runs/${id}/${path}`)
  const logOf = async (id: string) => await (await fetchOf(id, 'logs')).text()

  /** @returns the log once it is complete, which the follower is told */
  async function completeLog(id: string): Promise<string> {
    const followed = await (await fetchOf(id, 'logs?follow=1')).text()
    expect(followed).toContain('event: end')
    return await logOf(id)
  }

  test('its output, by line and stream, while it is made and after', async () => {
    const script = `console.log('out 1'); console.error('err 1'); setTimeout(() => { console.log('out 2') }, 3000)`
    const { id } = await tenant.run({ image, command: node(script) })
    const early = await until('the first lines are there while it runs', async () => {
      const log = await logOf(id)
      return log.includes('err 1') ? log : undefined
    })
    expect(early).not.toContain('out 2')
    expect((await tenant.get(id)).status).toBe('running')
    await tenant.ends(id)
    const log = await completeLog(id)
    expect([textOf(log, 'stdout'), textOf(log, 'stderr')]).toEqual(['out 1\nout 2', 'err 1'])
  })

  test('binary output, a line of 1 MB, and many lines, complete and in order', async () => {
    const script = `
      process.stdout.write('x'.repeat(1000000) + '\\n')
      for (let at = 0; at < 200000; at++) process.stdout.write('line ' + at + '\\n')
      process.stdout.write(Buffer.from([0, 1, 2, 253, 254, 255, 10]))`
    const { id } = await tenant.run({ image, command: node(script) })
    await tenant.ends(id)
    const log = await completeLog(id)
    const lines = textOf(log).split('\n')
    expect(lines[0]?.length).toBe(1_000_000)
    expect(lines.slice(1, 200_001)).toEqual(Array.from({ length: 200_000 }, (_, at) => `line ${at}`))
    expect(lines[200_001]?.startsWith('\0\x01\x02')).toBe(true)
  })

  test('its artifacts, also when it failed; and what is none is refused and said so', async () => {
    const script = `
      const fs = require('fs'); process.chdir(process.env.CERTYN_ARTIFACTS_DIR)
      fs.mkdirSync('sub'); fs.writeFileSync('sub/report.txt', 'fine'); fs.writeFileSync('empty', '')
      fs.writeFileSync('big.bin', Buffer.alloc(9 << 20, 7))
      fs.symlinkSync('/etc/passwd', 'link'); fs.symlinkSync('../..', 'up'); fs.writeFileSync('new\\nline.txt', 'x')
      process.exit(3)`
    const { id } = await tenant.run({ image, command: node(script) })
    expect((await tenant.ends(id)).exit_code).toBe(3)
    const log = await completeLog(id)
    expect(log).toContain('the artifact "link" is not kept')
    expect(log).toContain('the artifact "up" is not kept')
    const { items } = await until('all artifacts are there', async () => {
      const artifacts = await tenant.api.get(`/runs/${id}/artifacts`, Artifacts)
      return artifacts.items.length === 4 ? artifacts : undefined
    })
    expect(items.map(item => [item.name, item.size])).toEqual([
      ['big.bin', 9 << 20],
      ['empty', 0],
      ['new_line.txt', 1],
      ['sub/report.txt', 4],
    ])
    const big = Buffer.from(await (await fetchOf(id, 'artifacts/big.bin')).arrayBuffer())
    expect(createHash('sha256').update(big).digest('hex')).toBe(items[0]?.sha256)
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
  })

  test('all of it, though the daemon is killed while it is made and again while it is brought', async () => {
    const script = `
      let at = 0; const timer = setInterval(() => { for (let n = 0; n < 500; n++) console.log('line ' + at++)
      if (at >= 20000) { clearInterval(timer); require('fs').writeFileSync(process.env.CERTYN_ARTIFACTS_DIR + '/last.txt', 'last') } }, 100)`
    const { id } = await tenant.run({ image, command: node(script) })
    await until('some of the log is there', async () =>
      (await logOf(id)).includes('line 2000\n') ? true : undefined,
    )
    await daemon.end('SIGKILL')
    await daemon.online(tenant)
    await until('more of the log is there', async () =>
      (await logOf(id)).includes('line 12000\n') ? true : undefined,
    )
    await daemon.end('SIGKILL')
    await daemon.online(tenant)
    await tenant.ends(id)
    const log = await completeLog(id)
    expect(textOf(log).split('\n')).toEqual(Array.from({ length: 20_000 }, (_, at) => `line ${at}`))
    await until('the artifact is there', async () => (await fetchOf(id, 'artifacts/last.txt')).ok)
  })
})
