import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Artifacts } from '../../protocol/session-files.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { engineSocket, HAS_ENGINE, noContainersLeft, nodeImage } from '../support/engine.ts'
import { node } from '../support/jobs.ts'
import { Network } from '../support/network.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** What a session leaves, from a real container to what the API gives back. */

/** Time and stream, in front of every line. */
const PREFIX_BYTES = '2026-01-01T00:00:00.000000000Z stdout '.length

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
  // None of these is about leases, and some take a busy machine long.
  const controlPlane = new ControlPlane({ SelfHosted__LeaseTtlSeconds: '60' })
  let image: string
  let tenant: Tenant
  let daemon: Daemon
  let network: Network

  beforeAll(async () => {
    image = await nodeImage()
    await controlPlane.start()
    network = await Network.to(controlPlane.url)
    tenant = await controlPlane.tenant()
    const env = { CONTROL_PLANE_URL: network.url }
    daemon = await Daemon.of(controlPlane, tenant, { name: 'collects', slots: 4, env })
    await daemon.online(tenant)
  })
  afterAll(async () => {
    await daemon.end('SIGTERM')
    await network.close()
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

  test('a line of 1 MB, and many lines, complete and in order', async () => {
    const script = `
      process.stdout.write('x'.repeat(1000000) + '\\n')
      for (let at = 0; at < 200000; at++) process.stdout.write('line ' + at + '\\n')`
    const { id } = await tenant.run({ image, command: node(script) })
    await tenant.ends(id)
    const log = await completeLog(id)
    const lines = textOf(log).split('\n')
    expect(lines[0]?.length).toBe(1_000_000)
    expect(lines.slice(1, 200_001)).toEqual(Array.from({ length: 200_000 }, (_, at) => `line ${at}`))
  })

  test('every byte there is, as it was written', async () => {
    const script = `const all = Buffer.from(Array.from({ length: 256 }, (_, at) => at))
      process.stdout.write(Buffer.concat([all, Buffer.from('\\n')]))`
    const { id } = await tenant.run({ image, command: node(script) })
    await tenant.ends(id)
    await completeLog(id)
    const log = Buffer.from(await (await fetchOf(id, 'logs')).arrayBuffer())
    const [first, second] = [log.indexOf(0x0a), log.indexOf(0x0a, log.indexOf(0x0a) + 1)]
    const written = [log.subarray(PREFIX_BYTES, first), log.subarray(first + 1 + PREFIX_BYTES, second)]
    const all = Array.from({ length: 256 }, (_, at) => at)
    // The newline among them begins a line of the log.
    expect(written.map(line => [...line])).toEqual([all.slice(0, 0x0a), all.slice(0x0b)])
  })

  /** @returns how many lines there are in all, each of them the next one; read as they come */
  async function countLines(id: string): Promise<number> {
    const response = await fetchOf(id, 'logs')
    let next = 0
    let rest = ''
    for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (Number(/line (\d+) x+$/.exec(line)?.[1]) !== next)
          throw new Error(`line ${next} is not there, but: ${line}`)
        next += 1
      }
    }
    expect(rest).toBe('')
    return next
  }
  const printing = (count: number) =>
    node(`let text = ''
      for (let at = 0; at < ${count}; at++) {
        text += 'line ' + at + ' ' + 'x'.repeat(88) + '\\n'
        if (text.length > 60000) { process.stdout.write(text); text = '' }
      }
      process.stdout.write(text)`)
  const isLogComplete = async (id: string) =>
    (await (await fetchOf(id, 'logs?follow=1')).text()).includes('event: end')

  test('100 MB of output, complete and in order, in bounded memory', async () => {
    // On the host, where making them takes the least: what comes after is the same.
    const host = await Daemon.of(controlPlane, tenant, {
      name: 'on-the-host',
      env: { RUNNER_EXECUTOR: 'host', RUNNER_LABELS: 'on=host' },
    })
    await host.online(tenant)
    const before = host.peakMemoryBytes()
    const { id } = await tenant.run({ image, command: printing(1_000_000), labels: { on: 'host' } })
    await tenant.ends(id)
    await until('the log is complete', () => isLogComplete(id))
    expect(await countLines(id)).toBe(1_000_000)
    // Seen: up to 71 MB. Holding the output once more than it must makes it 206.
    expect(host.peakMemoryBytes() - before).toBeLessThan(128 * 1024 * 1024)
    await host.end('SIGTERM')
  })

  test('all of an output that is faster than the uplink, long after its container is gone', async () => {
    const before = daemon.peakMemoryBytes()
    // All of it would take two minutes.
    network.uplinkBytesPerSecond = 100_000
    const { id } = await tenant.run({ image, command: printing(100_000) })
    await tenant.ends(id)
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
    const early = Number((await fetchOf(id, 'logs')).headers.get('content-length'))
    expect(early).toBeLessThan(10_000_000)
    network.uplinkBytesPerSecond = Number.POSITIVE_INFINITY
    await until('the log is complete', () => isLogComplete(id))
    expect(await countLines(id)).toBe(100_000)
    expect(daemon.peakMemoryBytes() - before).toBeLessThan(60 * 1024 * 1024)
  })

  test('no more than its runner keeps, which the log and an event say once; and then its artifacts', async () => {
    const small = await Daemon.of(controlPlane, tenant, {
      name: 'keeps-little',
      env: { RUNNER_LOG_CAP_MB: '1', RUNNER_LABELS: 'keeps=little' },
    })
    await small.online(tenant)
    const labels = { keeps: 'little' }
    const command = node(`require('fs').writeFileSync(process.env.CERTYN_ARTIFACTS_DIR + '/a.txt', 'a')
      for (let at = 0; at < 60000; at++) process.stdout.write('line ' + at + '\\n')`)
    const { id } = await tenant.run({ image, command, labels })
    await tenant.ends(id)
    const log = await completeLog(id)
    expect(log.length).toBeLessThanOrEqual(1024 * 1024)
    const [kept = '', ...after] = log.split('--- the log is cut here')
    expect(after.length).toBe(1)
    const lines = textOf(kept).split('\n')
    expect(lines.slice(0, -1)).toEqual(Array.from({ length: lines.length - 1 }, (_, at) => `line ${at}`))
    await until('the artifact is there', async () => (await fetchOf(id, 'artifacts/a.txt')).ok)
    const truncations = await until('an event says so', async () => {
      const said = (await tenant.events(id)).filter(event => event.type === 'log_truncated')
      return said.length > 0 && said
    })
    expect(truncations.length).toBe(1)
    await small.end('SIGTERM')
  })

  test('nothing of the runner’s own, whatever links the job plants, and what it left when it was killed', async () => {
    const planted = {
      credential: `${daemon.stateDir}/credential.json`,
      state: daemon.stateDir,
      engine: engineSocket(),
      self: '/proc/self/root',
    }
    const script = `
      const fs = require('fs'); process.chdir(process.env.CERTYN_ARTIFACTS_DIR)
      for (const [name, target] of Object.entries(${JSON.stringify(planted)})) fs.symlinkSync(target, name)
      try { fs.linkSync('/etc/hostname', 'hard') } catch (error) { console.log('hard link: ' + error.code) }
      require('net').createServer().listen('socket', () => {
        fs.writeFileSync('kept.txt', 'kept')
        process.kill(process.pid, 'SIGKILL')
      })`
    const { id } = await tenant.run({ image, command: node(script) })
    expect((await tenant.ends(id)).exit_code).toBe(137)
    const log = await completeLog(id)
    expect(log).toContain('hard link: E')
    for (const name of [...Object.keys(planted), 'socket'])
      expect(log).toContain(`the artifact "${name}" is not kept`)
    const { items } = await until('the artifact is there', async () => {
      const artifacts = await tenant.api.get(`/runs/${id}/artifacts`, Artifacts)
      return artifacts.items.length > 0 && artifacts
    })
    expect(items.map(item => item.name)).toEqual(['kept.txt'])
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
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
    const url = `${controlPlane.url}/api/v1/runs/${id}/artifacts/big.bin`
    const head = await fetch(url, { method: 'HEAD', headers: tenant.api.headers })
    expect(head.headers.get('content-length')).toBe(String(9 << 20))
    const headers = { ...tenant.api.headers, 'if-none-match': head.headers.get('etag') ?? '' }
    expect((await fetch(url, { headers })).status).toBe(304)
    await noContainersLeft((await tenant.runners()).map(runner => runner.id))
  })

  test('all of it, though the daemon is killed while it is made, then the control plane, then the daemon again', async () => {
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
      (await logOf(id)).includes('line 6000\n') ? true : undefined,
    )
    await controlPlane.killGroup()
    await controlPlane.start()
    await until('more of the log is there', async () =>
      (await logOf(id)).includes('line 12000\n') ? true : undefined,
    )
    await daemon.end('SIGKILL')
    await daemon.online(tenant)
    expect((await tenant.ends(id)).attempt).toBe(1)
    const log = await completeLog(id)
    expect(textOf(log).split('\n')).toEqual(Array.from({ length: 20_000 }, (_, at) => `line ${at}`))
    await until('the artifact is there', async () => (await fetchOf(id, 'artifacts/last.txt')).ok)
  })
})
