import { execFile } from 'node:child_process'
import { mkdtempSync, symlinkSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Inside, readInside } from '../../../runner/doctor/job/inside.ts'
import { lookAround, NAME_VARIABLE, TARGETS_VARIABLE } from '../../../runner/doctor/job/scripts.ts'
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

  /** A path with these programs of busybox's and none else. */
  function pathOf(...tools: readonly string[]): string {
    const path = mkdtempSync(join(directory, 'tools-'))
    for (const tool of ['sleep', ...tools]) symlinkSync('/bin/busybox', join(path, tool))
    return path
  }

  function pretend(path: string, tool: string, script: string): void {
    writeFileSync(join(path, tool), `#!/bin/dash\n${script}\n`, { mode: 0o755 })
  }

  async function looked(env: Readonly<Record<string, string>>): Promise<Inside> {
    const { stdout } = await run('/bin/dash', [...lookAround('sh').command], { env })
    const inside = readInside(stdout)
    expect(inside.ended).toBe(true)
    return inside
  }

  async function reaches(PATH: string, targets: readonly string[]) {
    const { reached } = await looked({ PATH, [TARGETS_VARIABLE]: targets.join(',') })
    return targets.map(target => reached.get(target))
  }

  test.each(['nc', 'wget'])('tells with %s what is open from what is not', async tool => {
    const web = await listening('HTTP/1.1 401 Unauthorized\r\n\r\n')
    const login = await listening('SSH-2.0-test\r\n')
    const targets = [`127.0.0.1 ${web}`, `127.0.0.1 ${login}`, '127.0.0.1 1']
    expect(await reaches(pathOf(tool), targets)).toEqual(['open', 'open', 'refused'])
  })

  test.each([
    ['getent', 'echo 192.0.2.1 cp.test', true],
    ['getent', 'exit 2', false],
    ['nslookup', 'echo Server: 127.0.0.11; echo Name: cp.test; echo Address: 192.0.2.1; exit 1', true],
    ['nslookup', 'echo Server: 127.0.0.11; echo "** server cannot find cp.test: NXDOMAIN"; exit 1', false],
    ['neither', '', null],
  ])('tells with %s that says "%s" whether a name is resolved', async (tool, script, resolved) => {
    const path = pathOf()
    pretend(path, tool, script)
    expect((await looked({ PATH: path, [NAME_VARIABLE]: 'cp.test' })).resolved).toBe(resolved)
  })

  test('takes an nc that has to be stopped for one that has connected', async () => {
    const path = pathOf()
    pretend(path, 'nc', 'exec sleep 60')
    expect(await reaches(path, ['127.0.0.1 1'])).toEqual(['open'])
  })

  test('takes with nc a service that says nothing for open', async () => {
    const port = await listening(null)
    expect(await reaches(pathOf('nc'), [`127.0.0.1 ${port}`])).toEqual(['open'])
  })

  test('says with no tool that it cannot tell', async () => {
    expect(await reaches(pathOf(), ['127.0.0.1 1'])).toEqual(['unknown'])
  })
})
