import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readInside } from '../../../runner/doctor/job/inside.ts'
import { lookAround, TARGETS_VARIABLE } from '../../../runner/doctor/job/scripts.ts'
import { engineMissing } from '../support/engine.ts'
import { removeDirectory, temporaryDirectory } from '../support/runner-process.ts'

const missing = await engineMissing()
const run = promisify(execFile)

/** The very script that runs inside a job, here with the tools that an image may or may not have. */
describe.skipIf(missing !== null)('the script for images with a shell', () => {
  let directory: string
  const servers: Server[] = []
  beforeAll(() => {
    directory = temporaryDirectory()
  })
  afterAll(() => {
    for (const server of servers) server.close()
    removeDirectory(directory)
  })

  /** @param greeting null: it says nothing, and keeps the connection @returns its port */
  async function listening(greeting: string | null): Promise<number> {
    const server = createServer(socket => {
      socket.on('error', () => undefined)
      if (greeting !== null) socket.end(greeting)
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    servers.push(server)
    return (server.address() as AddressInfo).port
  }

  /** A path with these of busybox's programs and none else. */
  async function reaches(tools: readonly string[], targets: readonly string[]) {
    const path = join(directory, ['tools', ...tools].join('-'))
    mkdirSync(path)
    for (const tool of ['sleep', ...tools]) symlinkSync('/bin/busybox', join(path, tool))
    const { command } = lookAround('sh')
    const env = { PATH: path, [TARGETS_VARIABLE]: targets.join(',') }
    const { stdout } = await run('/bin/dash', [...command], { env })
    const { reached, ended } = readInside(stdout)
    expect(ended).toBe(true)
    return targets.map(target => reached.get(target))
  }

  test.each([[['nc']], [['wget']]])('tells with %j what is open from what is not', async tools => {
    const web = await listening('HTTP/1.1 401 Unauthorized\r\n\r\n')
    const login = await listening('SSH-2.0-test\r\n')
    const targets = [`127.0.0.1 ${web}`, `127.0.0.1 ${login}`, '127.0.0.1 1', 'no-such-host.invalid 80']
    expect(await reaches(tools, targets)).toEqual(['open', 'open', 'refused', 'no such name'])
  })

  test('takes with nc a service that says nothing for open', async () => {
    const port = await listening(null)
    expect(await reaches(['nc', 'head'], [`127.0.0.1 ${port}`])).toEqual(['open'])
  })

  test('says with no tool that it cannot tell', async () => {
    expect(await reaches([], ['127.0.0.1 1'])).toEqual(['unknown'])
  })
})
