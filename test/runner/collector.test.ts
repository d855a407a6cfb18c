import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../runner/clock.ts'
import { Collector } from '../../runner/collect/collector.ts'
import { createLog } from '../../runner/log.ts'
import { sessionId } from './support/factories.ts'
import { type Fault, FilesServer } from './support/files-server.ts'
import { fill, mountMemory, mountMissing, unmount } from './support/privileges.ts'
import { removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'

const SESSION = sessionId('a')
const MIB = 1024 * 1024
const noMount = mountMissing()

let directory: string
let server: FilesServer

beforeEach(async () => {
  directory = temporaryDirectory()
  mkdirSync(join(directory, 'artifacts'))
  server = await FilesServer.start()
})
afterEach(async () => {
  await server.stop()
  removeDirectory(directory)
})

/** Output that grows, and is read again from its beginning by everybody who asks. */
class Output {
  #text = Buffer.alloc(0)
  #isOver = false
  readonly #changed = new Set<() => void>()

  write(text: string | Buffer): void {
    this.#text = Buffer.concat([this.#text, Buffer.from(text)])
    for (const wake of this.#changed) wake()
  }

  end(): void {
    this.#isOver = true
    for (const wake of this.#changed) wake()
  }

  async *read(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let at = 0; ; ) {
      signal.throwIfAborted()
      if (at < this.#text.length) {
        const piece = this.#text.subarray(at, at + 60_000)
        at += piece.length
        yield piece
      } else if (this.#isOver) return
      else
        await new Promise<void>(resolve => {
          this.#changed.add(resolve)
          signal.addEventListener('abort', () => resolve())
        })
    }
  }
}

function collectorOf(
  output: Pick<Output, 'read'>,
  more: { spoolPath?: string; capMb?: number } = {},
): Collector {
  return new Collector({
    sessionId: SESSION,
    folder: directory,
    spoolPath: more.spoolPath ?? join(directory, 'spool.log'),
    logCapBytes: (more.capMb ?? 64) * MIB,
    output: signal => output.read(signal),
    calls: server.calls,
    clock: systemClock,
    log: createLog('silent'),
  })
}

/** Runs until everything is brought. */
async function collect(output: Output, more: Parameters<typeof collectorOf>[1] = {}): Promise<void> {
  const collector = collectorOf(output, more)
  output.end()
  collector.end()
  await collector.run(new AbortController().signal)
}

function artifact(name: string, content: Buffer | string): void {
  writeFileSync(join(directory, 'artifacts', name), content)
}

function lines(count: number, from = 0): string {
  return Array.from({ length: count }, (_, at) => `line ${from + at}\n`).join('')
}

describe('what a session leaves is brought once and in order', () => {
  test('though calls are dropped, replies are lost and the control plane is overloaded', async () => {
    const faults: Record<string, (Fault | null)[]> = {
      logs: ['drop', 'lose', null, 'lose', null, 'overloaded', null],
      parts: ['lose', null, 'drop'],
      artifacts: ['lose'],
      complete: ['lose', 'drop'],
    }
    server.faultOf = path => {
      const kind = ['complete', 'parts', 'logs'].find(one => path.includes(`/${one}`)) ?? 'artifacts'
      return faults[kind]?.shift() ?? null
    }
    const output = new Output()
    output.write(lines(400_000))
    const bytes = randomBytes(6 * MIB)
    artifact('bytes.bin', bytes)
    await collect(output)
    expect(Object.values(faults).flat()).toEqual([])
    expect(server.files.log(SESSION)).toBe(lines(400_000))
    expect(server.files.isLogComplete(SESSION)).toBe(true)
    expect(server.files.artifacts(SESSION).get('bytes.bin')?.equals(bytes)).toBe(true)
  })

  test('though the daemon ends at every call and another goes on', async () => {
    const output = new Output()
    output.write(lines(300_000))
    output.end()
    artifact('bytes.bin', randomBytes(11 * MIB))
    const seen = new Set<string>()
    for (let daemons = 1; ; daemons++) {
      const stop = new AbortController()
      server.faultOf = path => {
        const call = path.replaceAll(/[0-9a-f]{32}/g, '')
        if (call.includes('offset=0') || seen.has(call)) return null
        seen.add(call)
        stop.abort()
        return 'lose'
      }
      const collector = collectorOf(output)
      collector.end()
      const done = await collector.run(stop.signal).then(
        () => true,
        () => false,
      )
      if (done) break
      expect(daemons).toBeLessThan(30)
    }
    expect(seen.size).toBeGreaterThan(5)
    expect(server.files.log(SESSION)).toBe(lines(300_000))
    // A part that was taken is not brought again, whoever was there to hear of it.
    expect(server.files.parts).toEqual(['bytes.bin 1', 'bytes.bin 2', 'bytes.bin 3'])
  })

  test('and a log that another daemon has brought is not sent again', async () => {
    const output = new Output()
    output.write(lines(200_000))
    await collect(output)
    const before = server.files.chunks.length
    await collect(output)
    expect(server.files.chunks.slice(before)).toEqual([0, 0])
  })

  test('by few calls, though it comes a line at a time', async () => {
    const output = new Output()
    const collector = collectorOf(output)
    const running = collector.run(new AbortController().signal)
    const began = Date.now()
    for (let at = 0; at < 200; at++) {
      output.write(`line ${at}\n`)
      await sleep(5)
    }
    const calls = server.files.chunks.length
    expect(calls).toBeLessThanOrEqual(2 + (Date.now() - began) / 400)
    output.end()
    collector.end()
    await running
    expect(server.files.log(SESSION)).toBe(lines(200))
  })
})

describe('artifacts are brought', () => {
  test('by a daemon that was started after the log was complete, and remarks on others are said once', async () => {
    symlinkSync('/etc/passwd', join(directory, 'artifacts', 'link'))
    artifact('one.txt', 'one')
    artifact('two.txt', 'two')
    const output = new Output()
    output.write('no newline')
    const stop = new AbortController()
    server.faultOf = path => {
      if (!path.endsWith('/complete')) return null
      stop.abort()
      return 'drop'
    }
    const first = collectorOf(output)
    output.end()
    first.end()
    await expect(first.run(stop.signal)).rejects.toThrow()
    expect(server.files.isLogComplete(SESSION)).toBe(true)
    server.faultOf = () => null
    await collect(output)
    expect(server.files.log(SESSION)).toBe(
      'no newline\n--- the artifact "link" is not kept: it is a link ---\n',
    )
    expect([...server.files.artifacts(SESSION).keys()]).toEqual(['one.txt', 'two.txt'])
  })

  test('though the control plane has closed the log before its end', async () => {
    artifact('one.txt', 'one')
    const output = new Output()
    output.write(lines(10))
    await collect(output)
    output.write('more\n')
    artifact('two.txt', 'two')
    await collect(output)
    expect(server.files.log(SESSION)).toBe(lines(10))
    expect([...server.files.artifacts(SESSION).keys()]).toEqual(['one.txt', 'two.txt'])
  })

  test('after something broke here, and a log that is not complete by then still ends with what is said of them', async () => {
    symlinkSync('/etc/passwd', join(directory, 'artifacts', 'link'))
    artifact('one.txt', 'one')
    const output = new Output()
    output.write('line\n')
    let hasBroken = false
    const isComplete = () => server.files.isLogComplete(SESSION)
    const { calls } = server
    const begin = calls.begin.bind(calls)
    calls.begin = async (...args) => {
      if (hasBroken) return await begin(...args)
      hasBroken = true
      throw new Error('something broke')
    }
    // Nothing of the log is brought before that.
    const appendLog = calls.appendLog.bind(calls)
    calls.appendLog = async (...args) => {
      await until('it broke', () => hasBroken)
      return await appendLog(...args)
    }
    // When it is read again, a log that is taken to be whole would be completed meanwhile.
    const slowly = {
      async *read(signal: AbortSignal) {
        for (let waits = 0; hasBroken && !isComplete() && waits < 25; waits++) await sleep(20)
        yield* output.read(signal)
      },
    }
    const collector = collectorOf(slowly)
    output.end()
    collector.end()
    await collector.run(new AbortController().signal)
    expect(server.files.log(SESSION)).toBe('line\n--- the artifact "link" is not kept: it is a link ---\n')
    expect([...server.files.artifacts(SESSION).keys()]).toEqual(['one.txt'])
  })

  test('while the control plane has no room for the log yet', async () => {
    artifact('one.txt', 'one')
    const output = new Output()
    output.write(lines(10))
    server.faultOf = path =>
      path.includes('/logs') && server.files.artifacts(SESSION).size === 0 ? 'overloaded' : null
    await collect(output)
    expect([...server.files.artifacts(SESSION).keys()]).toEqual(['one.txt'])
    expect(server.files.log(SESSION)).toBe(lines(10))
  })

  test('but none after the first that says the session is over', async () => {
    for (const name of ['a', 'b', 'c']) artifact(name, name)
    const asked: string[] = []
    server.faultOf = path => {
      asked.push(path.replace(/\?.*/, ''))
      return path.endsWith('/artifacts') ? 'session_ended' : null
    }
    await collect(new Output())
    expect(asked.sort()).toEqual([`/${SESSION}/artifacts`, `/${SESSION}/logs`])
  })
})

describe('a log larger than its cap', () => {
  test('is cut by the runner, which says so in it, once', async () => {
    const output = new Output()
    output.write(lines(200_000))
    symlinkSync('/etc/passwd', join(directory, 'artifacts', 'link'))
    for (let daemons = 0; daemons < 2; daemons++) await collect(output, { capMb: 1 })
    const log = server.files.log(SESSION)
    expect(log.length).toBeLessThanOrEqual(MIB)
    expect(log.length).toBeGreaterThan(MIB - 20_000)
    const [kept = '', said] = log.split(/\n--- the log is cut here: .*RUNNER_LOG_CAP_MB\) ---\n/)
    expect(lines(200_000).startsWith(kept)).toBe(true)
    expect(said).toBe('--- the artifact "link" is not kept: it is a link ---\n')
    expect(server.files.cuts(SESSION)).toEqual([true])
  })

  test('is completed though the control plane has cut it', async () => {
    server.files.logCapBytes = MIB
    const output = new Output()
    output.write(lines(200_000))
    artifact('one.txt', 'one')
    await collect(output)
    expect(server.files.log(SESSION)).toBe(lines(200_000).slice(0, MIB))
    expect(server.files.isLogComplete(SESSION)).toBe(true)
    expect(server.files.artifacts(SESSION).size).toBe(1)
    expect(server.files.cuts(SESSION)).toEqual([false])
  })
})

test('an output that cannot be read any more at the end is said to be incomplete', async () => {
  const output = new Output()
  output.write('early\n')
  let isGone = false
  const collector = collectorOf({
    async *read(signal) {
      if (isGone) return
      yield* output.read(signal)
      throw new Error('the Engine went away')
    },
  })
  const running = collector.run(new AbortController().signal)
  await until('it is brought', () => server.files.log(SESSION) === 'early\n')
  isGone = true
  output.end()
  collector.end()
  await running
  expect(server.files.log(SESSION)).toMatch(/^early\n--- the end of the output is missing: .* ---\n$/)
})

describe.skipIf(noMount !== null)('on a full disk', () => {
  test('nothing of the output is lost or doubled once there is room', async () => {
    const mount = join(directory, 'small')
    mkdirSync(mount)
    mountMemory(mount, 'size=4m,mode=700')
    try {
      const spoolPath = join(mount, 'spool.log')
      const output = new Output()
      output.write(lines(1000))
      const collector = collectorOf(output, { spoolPath })
      const running = collector.run(new AbortController().signal)
      await until('it is brought', () => server.files.log(SESSION) === lines(1000))
      const filler = fill(mount)
      output.write(lines(100_000, 1000))
      output.end()
      collector.end()
      await until('some of it was written, and no more', () => statSync(spoolPath).size > lines(1000).length)
      rmSync(filler)
      await running
      expect(server.files.log(SESSION)).toBe(lines(101_000))
    } finally {
      unmount(mount)
    }
  })
})
