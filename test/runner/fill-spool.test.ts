import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fillSpool } from '../../runner/collect/fill-spool.ts'
import { LogLines } from '../../runner/collect/log-lines.ts'
import { Spool } from '../../runner/collect/spool.ts'
import { linesOf } from '../../runner/executors/docker/container-output.ts'
import { removeDirectory, temporaryDirectory } from './support/runner-process.ts'

let directory: string
let spool: Spool

beforeEach(async () => {
  directory = temporaryDirectory()
  spool = await Spool.open(join(directory, 'spool'), 1024 * 1024)
})
afterEach(async () => {
  await spool.release()
  removeDirectory(directory)
})

/** Lines of the log, in pieces that end where the Engine’s do: anywhere in a line, never in its time. */
async function* log(from: number, to: number, cut = ''): AsyncGenerator<Uint8Array> {
  for (let at = from; at < to; at++) {
    yield Buffer.from(`${time(at)} stdout line `)
    yield Buffer.from(`${at}\n`)
  }
  if (cut !== '') yield Buffer.from(cut)
}
function time(at: number): string {
  return `2026-01-01T00:00:00.${String(at).padStart(9, '0')}Z`
}
async function joined(lines: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of lines) all.push(piece)
  return Buffer.concat(all)
}
async function text(lines: AsyncIterable<Uint8Array>): Promise<string> {
  return (await joined(lines)).toString('utf8')
}
async function spooled(): Promise<string> {
  return Buffer.from(await spool.read(0, spool.length)).toString('utf8')
}
async function* both(...parts: AsyncGenerator<Uint8Array>[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield* part
}

describe('a log that is read again', () => {
  test('adds what is new, wherever the last reading stopped', async () => {
    const all = await text(log(0, 20))
    for (let length = 0; length <= all.length; length += 7) {
      const again = await Spool.open(join(directory, `spool-${length}`), 1024 * 1024)
      await again.append(Buffer.from(all.slice(0, length)))
      const filled = await fillSpool(log(0, 20), again)
      expect(Buffer.from(await again.read(0, again.length)).toString()).toBe(all)
      expect(filled).toEqual({ hasRead: true, isWhole: true })
      await again.release()
    }
  })

  test('whose beginning the Engine has thrown away adds what is new, and nothing is missing', async () => {
    await fillSpool(log(0, 10), spool)
    expect(await fillSpool(log(5, 15), spool)).toEqual({ hasRead: true, isWhole: true })
    expect(await fillSpool(log(12, 20), spool)).toEqual({ hasRead: true, isWhole: true })
    expect(await spooled()).toBe(await text(log(0, 20)))
  })

  test('that does not reach back to what is spooled is known to have a gap', async () => {
    await fillSpool(log(0, 10), spool)
    expect((await fillSpool(log(12, 20), spool)).isWhole).toBe(false)
    expect(await spooled()).toBe(await text(both(log(0, 10), log(12, 20))))
  })

  test('that has what was left out before is known to have a gap', async () => {
    await fillSpool(both(log(0, 10), log(12, 15)), spool)
    expect((await fillSpool(log(0, 20), spool)).isWhole).toBe(false)
    expect(await spooled()).toBe(await text(both(log(0, 10), log(12, 20))))
  })

  test('behind a line that was cut when its beginning was thrown away is known to have a gap', async () => {
    await fillSpool(log(0, 10, `${time(10)} stdout half a li`), spool)
    expect((await fillSpool(log(5, 12), spool)).isWhole).toBe(false)
    expect(await spooled()).toContain(`half a li${time(11)} stdout line 11\n`)
  })
})

describe('the Engine’s output', () => {
  /** All of what an Engine cuts from a longer line at once. */
  const PIECE = 'x'.repeat(16 * 1024)

  function frame(type: 1 | 2, content: string | Buffer, at: number): Buffer {
    const payload = Buffer.concat([Buffer.from(`${time(at)} `), Buffer.from(content)])
    const header = Buffer.alloc(8)
    header[0] = type
    header.writeUInt32BE(payload.length, 4)
    return Buffer.concat([header, payload])
  }

  test('becomes the same lines however it is cut on its way', async () => {
    const bytes = Buffer.concat([
      frame(1, 'one\n', 1),
      frame(1, PIECE, 2),
      frame(1, ' and its end\n', 2),
      frame(1, PIECE, 3),
      frame(2, 'error\n', 4),
      frame(1, Buffer.from([0, 255, 10]), 5),
      frame(1, '\n', 6),
    ])
    const expected = Buffer.from(
      `${time(1)} stdout one\n${time(2)} stdout ${PIECE} and its end\n` +
        `${time(3)} stdout ${PIECE}\n${time(4)} stderr error\n` +
        `${time(5)} stdout \0\xff\n${time(6)} stdout \n`,
      'latin1',
    )
    for (const size of [1, 2, 3, 7, 8, 9, 30, 1000, PIECE.length, bytes.length]) {
      async function* pieces() {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
      }
      expect(await joined(linesOf(pieces()))).toEqual(expected)
    }
  })

  test('ends a line behind its last piece, also where the Engine has left the newline out', async () => {
    async function* frames() {
      yield Buffer.concat([frame(1, PIECE, 1), frame(1, 'end', 1), frame(1, PIECE, 2), frame(1, '', 2)])
      yield frame(1, 'next\n', 3)
    }
    expect((await joined(linesOf(frames()))).toString()).toBe(
      `${time(1)} stdout ${PIECE}end\n${time(2)} stdout ${PIECE}\n${time(3)} stdout next\n`,
    )
  })

  test('that is not framed is refused', async () => {
    async function* pieces() {
      yield Buffer.alloc(16, 0xff)
    }
    await expect(joined(linesOf(pieces()))).rejects.toThrow('not framed')
  })

  test('has times of nine digits, which sort as text', () => {
    const at = (time: string) =>
      Buffer.from(new LogLines().push([{ stream: 'stdout', at: time, bytes: Buffer.from('x') }])).toString()
    expect(at('2026-01-01T00:00:00.5Z')).toBe('2026-01-01T00:00:00.500000000Z stdout x')
    expect(at('2026-01-01T00:00:00Z')).toBe('2026-01-01T00:00:00.000000000Z stdout x')
  })
})
