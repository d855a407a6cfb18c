import { join } from 'node:path'
import { expect, test } from 'vitest'
import { classifyExit, classifyFailure } from '../../runner/executors/docker/classify-failure.ts'
import { Images } from '../../runner/executors/docker/images.ts'
import { createLog } from '../../runner/log.ts'
import { FakeEngine } from './support/fake-engine.ts'
import { removeDirectory, temporaryDirectory } from './support/runner-process.ts'

test('the log keeps names and passwords in addresses to itself, and everything around them', () => {
  const written: string[] = []
  const log = createLog('info', { write: (line: string) => written.push(line) } as never)
  const said = {
    error: 'proxyconnect tcp: dial https://user:pass%2Fword@proxy.test:3128: refused',
    url: 'https://registry.test/v2/',
    image: 'registry.test/team/agent@sha256:0f',
    reason: 'mail to a@b.test, see //share',
  }
  log.warn(said, 'failed')
  const { time, ...line } = JSON.parse(written.join(''))
  expect(line).toEqual({
    level: 'warn',
    ...said,
    error: 'proxyconnect tcp: dial https://[redacted]@proxy.test:3128: refused',
    msg: 'failed',
  })
})

test('what the Engine says of a pull is passed on without the login it was given', async () => {
  const directory = temporaryDirectory()
  const engine = new FakeEngine(join(directory, 'engine.sock'))
  await engine.open()
  const login = { serveraddress: 'r.test', username: 'robot', password: 'correct horse' }
  const message =
    'unauthorized: authentication required: Get "https://robot:x@r.test/token": bad login robot:correct horse'
  for (const isProgress of [false, true]) {
    engine.answer = path => {
      if (!path.endsWith('/images/create')) return { status: 404, body: { message: 'no such image' } }
      return isProgress
        ? { status: 200, body: `${JSON.stringify({ error: message })}\n` }
        : { status: 500, body: { message } }
    }
    const images = new Images(engine.docker, 'always', () => login)
    const signal = new AbortController().signal
    expect(await images.obtain('r.test/agent:1', { signal, onPulling: () => undefined })).toMatchObject({
      exit: {
        reason: 'image_auth',
        message: expect.stringContaining(
          'unauthorized: authentication required: Get "https://[redacted]@r.test/token": bad login robot:[redacted]',
        ),
      },
    })
  }
  engine.shut()
  removeDirectory(directory)
})

test('what the Engine says of a container is passed on without logins in addresses, and classified all the same', () => {
  const start =
    'OCI runtime create failed: exec: "https://robot:pa%2Fss@proxy.test:3128": executable file not found in $PATH'
  const cleaned = start.replace('robot:pa%2Fss', '[redacted]')
  expect(classifyFailure('start', start)).toMatchObject({ reason: 'command_not_found', message: cleaned })
  expect(classifyFailure('create', start)).toMatchObject({ reason: 'engine_error', message: cleaned })
  for (const code of [1, 127]) expect(classifyExit(code, false, start).exit.message).toBe(cleaned)
  // Cut after it: half a login is one too.
  const late = `${'x'.repeat(985)}https://robot:${'p'.repeat(40)}@proxy.test`
  expect(classifyFailure('create', late).message).not.toContain('robot')
})
