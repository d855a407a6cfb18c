import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { decodeFrame, type FromPublisher } from '../../protocol/stream.ts'
import type { Log } from '../../runner/log.ts'
import { AgentLine } from '../../runner/relay/agent-line.ts'
import { removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'

/** The example of docs/agent-images.md, as a reader would run it, at the other end of the runner's own line. */

const ROOT = join(import.meta.dirname, '../..')
const PICTURE = Buffer.from('not a picture, but nobody on the way looks into it')
const SILENT: Pick<Log, 'warn'> = { warn: () => undefined }

let folder: string
let agent: ChildProcess | undefined

beforeEach(() => {
  folder = temporaryDirectory()
})
afterEach(() => {
  agent?.kill('SIGKILL')
  removeDirectory(folder)
})

test('the example of the documentation gives the runner its picture when somebody watches', async () => {
  writeFileSync(join(folder, 'picture.jpg'), PICTURE)
  const [, example = ''] =
    /```js\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'docs/agent-images.md'), 'utf8')) ?? []
  writeFileSync(join(folder, 'agent.mjs'), example)
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  agent = spawn(process.execPath, ['agent.mjs', 'picture.jpg'], {
    cwd: folder,
    env: { ...process.env, STREAM_SOCKET: join(folder, 'stream.sock') },
    stdio: 'inherit',
  })
  const frames: Uint8Array[] = []
  const messages: FromPublisher[] = []
  const line = new AgentLine({
    folder,
    log: SILENT as Log,
    onFrame: frame => frames.push(frame),
    onMessage: message => messages.push(message),
    onOpen: () => line.send({ type: 'demand', viewers: 1, max_fps: 30, refresh: true }),
    onGone: () => undefined,
  })
  const stop = new AbortController()
  const running = line.run(stop.signal)
  await until('a frame', () => frames.length > 0)
  stop.abort()
  await running
  expect(messages).toEqual([{ type: 'hello', width: 1280, height: 720 }])
  const [first = new Uint8Array()] = frames
  const frame = decodeFrame(first)
  expect(frame?.seq).toBe(0)
  expect(Buffer.from(frame?.image ?? [])).toEqual(PICTURE)
})
