import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CommandFailure } from '../../cli/failure.ts'
import { download } from '../../cli/runs/download.ts'
import { refused, TestClock } from './support.ts'

const BYTES = Buffer.from('0123456789')
const ARTIFACT = {
  name: 'deep/a.txt',
  size: BYTES.length,
  sha256: createHash('sha256').update(BYTES).digest('hex'),
  content_type: 'text/plain',
}

/** What one answer gives: bytes from where it was asked, then its end or a broken line. */
interface Answer {
  readonly status: number
  readonly bytes: Buffer
  readonly isBroken: boolean
}

const whole: Answer = { status: 200, bytes: BYTES, isBroken: false }
const brokenAt = (end: number): Answer => ({ status: 200, bytes: BYTES.subarray(0, end), isBroken: true })

describe('an artifact that is brought', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'certyn-download-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  async function bring(answers: readonly (Answer | CommandFailure)[], artifact = ARTIFACT) {
    const asked: number[] = []
    const open = async (_: unknown, from: number) => {
      asked.push(from)
      const answer = answers[asked.length - 1]
      if (answer === undefined || answer instanceof CommandFailure) throw answer ?? new Error('one too many')
      const body = (async function* () {
        for (const byte of answer.bytes) yield Uint8Array.of(byte)
        if (answer.isBroken) throw new Error('other side closed')
      })()
      return { status: answer.status, headers: {}, body }
    }
    const file = await download({ open, clock: new TestClock() }, artifact, folder)
    return { asked, text: readFileSync(file, 'utf8') }
  }

  test('is gone on with at the byte where the line broke', async () => {
    const rest = { status: 206, bytes: BYTES.subarray(3), isBroken: false }
    expect(await bring([brokenAt(3), rest])).toEqual({ asked: [0, 3], text: '0123456789' })
  })

  test('is begun again where the server gives all of it again', async () => {
    expect(await bring([brokenAt(3), whole])).toEqual({ asked: [0, 3], text: '0123456789' })
  })

  test('takes the place of a file of before, once it is whole', async () => {
    await bring([whole])
    writeFileSync(path.join(folder, 'deep', 'a.txt'), 'older and longer than that')
    expect((await bring([whole])).text).toBe('0123456789')
    expect(readdirSync(path.join(folder, 'deep'))).toEqual(['a.txt'])
  })

  test.each([
    ['is other bytes', [{ ...whole, bytes: Buffer.from('0123456780') }]],
    ['is longer than the list says', [{ ...whole, bytes: Buffer.from('0123456789x') }]],
    ['never gets any further', Array.from({ length: 9 }, () => brokenAt(0))],
    ['is refused', [brokenAt(3), new CommandFailure(refused('not_found'))]],
  ])('leaves nothing behind when it %s', async (_, answers) => {
    await expect(bring(answers)).rejects.toThrow(CommandFailure)
    expect(readdirSync(path.join(folder, 'deep'))).toEqual([])
  })

  test('that cannot be written is this machine’s trouble', async () => {
    writeFileSync(path.join(folder, 'deep'), 'in the way')
    await expect(bring([whole])).rejects.toThrow('cannot be written')
  })
})
