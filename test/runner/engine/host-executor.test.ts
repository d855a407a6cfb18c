import { type ChildProcess, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { kernelBootId, systemClock } from '../../../runner/clock.ts'
import { CappedLog } from '../../../runner/executors/host/capped-log.ts'
import { HostExecutor } from '../../../runner/executors/host/host-executor.ts'
import { hostFiles } from '../../../runner/executors/host/host-files.ts'
import { openOutputPipe } from '../../../runner/executors/host/output-pipe.ts'
import { identify } from '../../../runner/executors/host/process-identity.ts'
import { readPolicy } from '../../../runner/policy.ts'
import { createFileAtomic } from '../../../runner/state/files.ts'
import { StateDirectory } from '../../../runner/state/state-directory.ts'
import { aJob, runId, uniqueSessionId } from '../support/factories.ts'
import { fill, mountMemory, mountMissing, unmount } from '../support/privileges.ts'
import { removeDirectory, temporaryDirectory, until } from '../support/runner-process.ts'

const MAIN = join(import.meta.dirname, '../../../runner/main.ts')
const CAP_MB = 1
const never = new AbortController().signal
const noMount = mountMissing()

let directory: string
let state: StateDirectory
let executor: HostExecutor
let id: string
let helpers: ChildProcess[]

beforeEach(async () => {
  directory = temporaryDirectory()
  helpers = []
  id = uniqueSessionId()
  await open()
})

afterEach(() => {
  for (const helper of helpers) helper.kill('SIGKILL')
  state.release()
  removeDirectory(directory)
})

async function open(): Promise<void> {
  state = await StateDirectory.open(directory)
  executor = new HostExecutor({
    state,
    policy: readPolicy(null),
    config: {
      RUNNER_LOG_CAP_MB: CAP_MB,
      RUNNER_JOB_HTTPS_PROXY: null,
      RUNNER_JOB_NO_PROXY: null,
      RUNNER_JOB_CA_FILE: null,
    },
    runIdOf: () => runId('a'),
    clock: systemClock,
    ownCommand: [process.execPath, MAIN],
  })
  await executor.ready()
}

function files() {
  return hostFiles(join(state.hostPath, id))
}

function create(script: string, env: Record<string, string> = {}) {
  return executor.create(id, aJob({ command: ['/bin/sh', '-c', script], env }))
}

async function exitOf() {
  return (await executor.wait(id, never)).exit
}

/** What the command of this test wrote into its folder. */
function pidIn(name: string): number {
  return Number(readFileSync(join(state.sessionFolder(id), name), 'utf8'))
}

test('what a command leaves in the background ends with it', async () => {
  await create('sleep 77 & echo $! > pid; exit 0')
  await executor.start(id)
  expect(await exitOf()).toEqual({ code: 0, reason: 'exited' })
  await until('the background process is gone', () => identify(pidIn('pid')) === null)
})

describe('the output', () => {
  test('is kept in the order it was written in, also through /dev/stderr', async () => {
    await create('echo one; echo two >&2; echo three > /dev/stderr; echo four; exit 4')
    await executor.start(id)
    expect(await exitOf()).toMatchObject({ code: 4 })
    expect(readFileSync(files().output, 'utf8')).toBe('one\ntwo\nthree\nfour\n')
    expect(statSync(files().output).mode & 0o777).toBe(0o600)
  })

  test('above the cap is cut and says so once, and the command goes on', async () => {
    await create(
      'i=0; while [ $i -lt 30 ]; do head -c 100000 /dev/zero | tr "\\0" "x"; i=$((i+1)); done; exit 6',
    )
    await executor.start(id)
    expect(await exitOf()).toEqual({ code: 6, reason: 'exited' })
    const text = readFileSync(files().output, 'utf8')
    expect(text).toMatch(/^x+\n\[certyn\] the output was cut here: RUNNER_LOG_CAP_MB is 1\n$/)
    expect(text.length).toBe(CAP_MB * 1024 * 1024)
  })

  test('that a process out of reach keeps open is not waited for', async () => {
    const leaver = "setsid sh -c 'touch gone; exec sleep 600' & echo $! > pid"
    await create(`${leaver}; while [ ! -e gone ]; do sleep 0.05; done; exit 0`)
    await executor.start(id)
    expect(await exitOf()).toEqual({ code: 0, reason: 'exited' })
    process.kill(pidIn('pid'), 'SIGKILL')
  })

  test('is handed on to its end although the command is gone', async () => {
    mkdirSync(join(state.hostPath, id))
    let text = ''
    const pipe = openOutputPipe(files().pipe, chunk => {
      text += Buffer.from(chunk).toString()
    })
    writeSync(pipe.writer, 'last words')
    pipe.closeWriter()
    await pipe.drained()
    expect(text).toBe('last words')
    expect(existsSync(files().pipe)).toBe(false)
  })

  test('below the cap gets no last line', () => {
    const written: string[] = []
    const log = new CappedLog(1, bytes => void written.push(Buffer.from(bytes).toString()))
    log.write(Buffer.from('all of it'))
    log.end()
    expect(written).toEqual(['all of it'])
  })

  test('that cannot be written is given up, and the last line is tried once more at the end', () => {
    const written: string[] = []
    let isFull = false
    const log = new CappedLog(1, bytes => {
      if (isFull) throw Object.assign(new Error('full'), { code: 'ENOSPC' })
      written.push(Buffer.from(bytes).toString())
    })
    log.write(Buffer.from('first'))
    isFull = true
    log.write(Buffer.from('second'))
    isFull = false
    log.write(Buffer.from('third'))
    log.end()
    log.end()
    expect(written).toEqual(['first', '\n[certyn] the output was cut here: the disk was full\n'])
  })
})

describe('the run’s variables', () => {
  function filesWithSecret(): string[] {
    const names = readdirSync(join(state.hostPath, id))
    return names.filter(name => readFileSync(join(state.hostPath, id, name), 'utf8').includes('canary'))
  }

  test('are on the disk, for this user alone, only until the command is started', async () => {
    await create('exec sleep 600', { PASSWORD: 'canary' })
    expect(filesWithSecret()).toEqual(['spec.json'])
    expect(statSync(files().spec).mode & 0o777).toBe(0o600)
    await executor.start(id)
    expect(filesWithSecret()).toEqual([])
    await executor.remove(id)
  })

  test('go as well when the command is never to be started', async () => {
    await create('true', { PASSWORD: 'canary' })
    expect(await executor.signal(id, 'SIGTERM')).toEqual({ type: 'not_running', container: true })
    expect(filesWithSecret()).toEqual([])
  })
})

describe('a signal', () => {
  test('that comes between the claim and the command reaches the command', async () => {
    await create('true')
    const claim = { kernel: kernelBootId(), shim: identify(process.pid) }
    writeFileSync(files().claim, JSON.stringify(claim))
    const signalled = executor.signal(id, 'SIGTERM')
    const child = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' })
    helpers.push(child)
    const command = identify(child.pid ?? 0)
    const started = { started_at: new Date().toISOString(), started_at_ms: systemClock.now() }
    writeFileSync(files().process, JSON.stringify({ ...claim, command, ...started }))
    await signalled
    await until('the command has ended', () => child.signalCode === 'SIGTERM')
  })

  test('is given up when the caller gives it up', async () => {
    await create('true')
    writeFileSync(files().claim, JSON.stringify({ kernel: kernelBootId(), shim: identify(process.pid) }))
    await expect(executor.signal(id, 'SIGTERM', AbortSignal.timeout(50))).rejects.toThrow(/aborted/)
  })

  test('to what was not started leaves nothing that could start it', async () => {
    await create('echo x > ran')
    await executor.signal(id, 'SIGKILL')
    await expect(executor.start(id)).resolves.toMatchObject({ type: 'exited' })
    expect(existsSync(join(state.sessionFolder(id), 'ran'))).toBe(false)
  })
})

describe('the process beside the command', () => {
  function shim(): ChildProcess {
    const child = spawn(process.execPath, [MAIN, 'host-shim', join(state.hostPath, id)], { stdio: 'ignore' })
    helpers.push(child)
    return child
  }

  test('kills a command that it cannot write down', async () => {
    await create('echo $$ > pid; exec sleep 600')
    mkdirSync(files().process)
    const child = shim()
    await until('it has ended', () => child.exitCode !== null)
    expect(JSON.parse(readFileSync(files().exit, 'utf8')).exit).toMatchObject({
      code: null,
      reason: 'engine_error',
    })
    const started = existsSync(join(state.sessionFolder(id), 'pid'))
    expect(started && identify(pidIn('pid'))).toBeFalsy()
  })

  test('stays until it can tell the exit code', async () => {
    await create('exit 3')
    mkdirSync(files().exit)
    const child = shim()
    const attempts = new Set<number>()
    await until('a second attempt', () => {
      for (const name of readdirSync(join(state.hostPath, id))) {
        const stat = statSync(join(state.hostPath, id, name), { throwIfNoEntry: false })
        const isDraft = name.startsWith('exit.json.') && stat !== undefined
        if (isDraft && readFileSync(join(state.hostPath, id, name), 'utf8').includes('exited'))
          attempts.add(stat.mtimeMs)
      }
      return attempts.size > 1
    })
    rmdirSync(files().exit)
    await until('it has ended', () => child.exitCode !== null)
    expect(JSON.parse(readFileSync(files().exit, 'utf8')).exit).toEqual({ code: 3, reason: 'exited' })
  })

  test('ends when nobody wants to know any more', async () => {
    await create('exit 3')
    mkdirSync(files().exit)
    const child = shim()
    await until('the command has started', () => existsSync(files().process))
    rmSync(join(state.hostPath, id), { recursive: true })
    await until('it has ended', () => child.exitCode !== null)
  })
})

describe.skipIf(noMount !== null)('on a full disk', () => {
  let mount: string
  let outside: string

  beforeEach(async () => {
    state.release()
    outside = temporaryDirectory()
    mount = directory
    mountMemory(mount, 'size=2m,mode=700')
    await open()
  })
  afterEach(() => {
    unmount(mount)
    removeDirectory(outside)
  })

  test('the exit code of a command that ran meanwhile is told', async () => {
    await create(`while [ ! -e ${outside}/go ]; do sleep 0.05; done; echo ended; exit 7`)
    await executor.start(id)
    fill(mount)
    writeFileSync(join(outside, 'go'), '')
    expect(await exitOf()).toEqual({ code: 7, reason: 'exited' })
  })

  test('output that there was no room for is said to be missing once there is', async () => {
    // More than a pipe holds: when the command goes on, the first of it was read and could not be written.
    const write = 'head -c 300000 /dev/zero'
    const untilGo = `while [ ! -e ${outside}/go ]; do sleep 0.05; done`
    await create(
      `echo start; while [ ! -e ${outside}/full ]; do sleep 0.05; done; ${write}; touch ${outside}/written; ${untilGo}`,
    )
    await executor.start(id)
    await until('the first line', () => readFileSync(files().output, 'utf8') === 'start\n')
    const filler = fill(mount)
    writeFileSync(join(outside, 'full'), '')
    await until('the command went on', () => existsSync(join(outside, 'written')))
    rmSync(filler)
    writeFileSync(join(outside, 'go'), '')
    expect(await exitOf()).toEqual({ code: 0, reason: 'exited' })
    const text = readFileSync(files().output, 'utf8')
    expect(text).toMatch(/^start\n\0*\n\[certyn\] the output was cut here: the disk was full\n$/)
  })

  test('a claim is made whole or not at all', () => {
    fill(mount)
    expect(() => createFileAtomic(join(mount, 'claim'), 'text')).toThrow(/ENOSPC/)
    expect(readdirSync(mount).filter(name => name.startsWith('claim'))).toEqual([])
  })

  test('a command is stopped all the same', async () => {
    await create('exec sleep 600')
    await executor.start(id)
    fill(mount)
    await executor.signal(id, 'SIGTERM')
    expect(await exitOf()).toEqual({ code: 143, reason: 'exited' })
  })

  test('none is started, which is said at once, and one is when there is room again', async () => {
    await create('exit 5')
    const filler = fill(mount)
    await expect(executor.start(id)).rejects.toThrow(/before it began; is the disk full/)
    expect(existsSync(files().claim)).toBe(false)
    rmSync(filler)
    await executor.start(id)
    expect(await exitOf()).toEqual({ code: 5, reason: 'exited' })
  })
})
