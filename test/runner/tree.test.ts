import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { measureTree, removeTree } from '../../runner/state/tree.ts'
import { temporaryDirectory, until } from './support/runner-process.ts'

/** Folders as a job may leave them. */

const MIB = 1024 * 1024
const NOBODY = 65_534
const ALL = Number.POSITIVE_INFINITY

let directory: string
let root: string

beforeEach(() => {
  directory = temporaryDirectory()
  root = join(directory, 'root')
  mkdirSync(root)
})

afterEach(() => {
  execFileSync('chmod', ['-R', 'u+rwx', directory])
  execFileSync('rm', ['-rf', directory])
})

/** In a process of its own, because only from inside can so deep a path be gone. */
function inFolder(script: string): void {
  const setUp = `const fs = require('fs'); const down = name => { fs.mkdirSync(name); process.chdir(name) };`
  execFileSync(process.execPath, ['-e', setUp + script], { cwd: root })
}

/** What the system's own tool says. */
function sizeOf(path: string): number {
  return Number.parseInt(execFileSync('du', ['-s', '--block-size=1', path], { encoding: 'utf8' }), 10)
}

/** As a user that file modes mean something to. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  if (process.getuid?.() !== 0) return work()
  for (const path of [directory, root]) chownSync(path, NOBODY, NOBODY)
  process.setegid?.(NOBODY)
  process.seteuid?.(NOBODY)
  try {
    return await work()
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
  }
}

describe('the size of a folder', () => {
  test('is that of its blocks: holes are nothing, a file with two names is one, a directory is something', async () => {
    writeFileSync(join(root, 'file'), Buffer.alloc(3 * MIB, 1))
    linkSync(join(root, 'file'), join(root, 'again'))
    writeFileSync(join(root, 'holes'), '')
    truncateSync(join(root, 'holes'), 1024 * MIB)
    mkdirSync(join(root, 'many'))
    for (let n = 0; n < 2_000; n++) writeFileSync(join(root, 'many', `${'x'.repeat(100)}${n}`), '')
    expect(await measureTree(root, ALL)).toEqual({ bytes: sizeOf(root), isWhole: true })
  })

  test('counts what lies deeper than any path can say', async () => {
    inFolder(
      `for (let n = 0; n < 300; n++) down('a directory of level ' + n); fs.writeFileSync('deep', Buffer.alloc(2 * ${MIB}, 1))`,
    )
    const { bytes, isWhole } = await measureTree(root, ALL)
    expect(bytes).toBeGreaterThan(2 * MIB)
    expect({ bytes, isWhole }).toEqual({ bytes: sizeOf(root), isWhole: true })
  })

  test('counts what has a name that is no text', async () => {
    inFolder(`const name = Buffer.from([0x66, 0xff, 0xfe]); fs.mkdirSync(name);
      fs.writeFileSync(Buffer.concat([name, Buffer.from('/'), name]), Buffer.alloc(${MIB}, 1))`)
    const { bytes } = await measureTree(root, ALL)
    expect(bytes).toBeGreaterThan(MIB)
    expect(bytes).toBe(sizeOf(root))
  })

  test('is not that of what a link points to', async () => {
    const outside = join(directory, 'outside')
    mkdirSync(outside)
    writeFileSync(join(outside, 'file'), Buffer.alloc(2 * MIB, 1))
    symlinkSync(outside, join(root, 'link'))
    expect((await measureTree(root, ALL)).bytes).toBeLessThan(MIB)
  })

  test('is looked at no further than is needed', async () => {
    for (let n = 0; n < 100; n++) writeFileSync(join(root, `${n}`), Buffer.alloc(64 * 1024, 1))
    const { bytes } = await measureTree(root, MIB)
    expect(bytes).toBeGreaterThan(MIB)
    expect(bytes).toBeLessThan(2 * MIB)
  })

  test('is not whole where a directory is shut, and whole where one is gone', async () => {
    await asNobody(async () => {
      mkdirSync(join(root, 'shut'))
      chmodSync(join(root, 'shut'), 0)
      expect(await measureTree(root, ALL)).toMatchObject({ isWhole: false })
      // Its names can be read and nothing more.
      chmodSync(join(root, 'shut'), 0o700)
      writeFileSync(join(root, 'shut', 'file'), '')
      chmodSync(join(root, 'shut'), 0o400)
      expect(await measureTree(root, ALL)).toMatchObject({ isWhole: false })
      expect(await measureTree(join(root, 'absent'), ALL)).toEqual({ bytes: 0, isWhole: true })
    })
  })

  test('is not whole when the directory that is looked at is moved away meanwhile', async () => {
    inFolder(`for (let n = 0; n < 100; n++) down('d');
      for (const name of ['here', 'there', 'here/moved']) fs.mkdirSync(name);
      for (let n = 0; n < 300; n++) fs.mkdirSync('here/moved/' + n);
      process.chdir('here/moved'); for (let n = 0; n < 70; n++) down('d')`)
    const path = join(root, ...Array.from({ length: 100 }, () => 'd'))
    const move = `const fs = require('fs');
      for (;;) { fs.renameSync('here/moved', 'there/moved'); fs.renameSync('there/moved', 'here/moved') }`
    const mover = spawn(process.execPath, ['-e', move], { cwd: path })
    try {
      await until('a look that is lost', async () => !(await measureTree(root, ALL)).isWhole)
    } finally {
      mover.kill('SIGKILL')
      await new Promise(resolve => mover.on('close', resolve))
    }
  })
})

describe('removing a folder', () => {
  const HOSTILE = `fs.mkdirSync(Buffer.from([0x66, 0xff])); fs.mkdirSync('beside'); fs.writeFileSync('beside/file', 'x');
    for (let n = 0; n < 300; n++) { fs.writeFileSync('file', 'x'); down('a directory of level ' + n) }
    fs.writeFileSync(Buffer.from([0xff]), 'x')`

  test('takes what is deeper than any path, and follows no link', async () => {
    const outside = join(directory, 'outside')
    mkdirSync(outside)
    writeFileSync(join(outside, 'file'), 'precious')
    symlinkSync(outside, join(root, 'link'))
    inFolder(`${HOSTILE}; fs.symlinkSync(${JSON.stringify(outside)}, 'link')`)
    await removeTree(root)
    expect(existsSync(root)).toBe(false)
    expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('precious')
  })

  test('takes what was shut against its own user, the folder itself too', async () => {
    await asNobody(async () => {
      inFolder(
        `${HOSTILE}; fs.mkdirSync('in'); fs.mkdirSync('in/shut'); fs.chmodSync('in/shut', 0); fs.chmodSync('in', 0)`,
      )
      mkdirSync(join(root, 'shut'))
      writeFileSync(join(root, 'shut', 'file'), 'x')
      chmodSync(join(root, 'shut'), 0)
      chmodSync(root, 0)
      await removeTree(root)
    })
    expect(existsSync(root)).toBe(false)
  })

  test('that is not there is no error', async () => {
    await removeTree(join(root, 'absent'))
  })
})
