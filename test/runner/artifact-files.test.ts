import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { artifactNameProblem } from '../../protocol/session-files.ts'
import { type ArtifactFile, artifactFiles, readAt } from '../../runner/collect/artifact-files.ts'
import { removeDirectory, temporaryDirectory } from './support/runner-process.ts'

/** What a job can leave to have the runner read, show or hold something that it should not. */

const SECRET = 'the credential of the runner'
const GIB = 1024 ** 3

let outside: string
let folder: string

beforeEach(() => {
  outside = temporaryDirectory()
  folder = join(outside, 'session', 'artifacts')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(outside, 'credential.json'), SECRET)
})
afterEach(() => removeDirectory(outside))

interface Walked {
  readonly files: string[]
  readonly contents: string[]
  readonly remarks: string[]
}

async function walk(onFile: (artifact: ArtifactFile) => void = () => undefined): Promise<Walked> {
  const walked: Walked = { files: [], contents: [], remarks: [] }
  for await (const left of artifactFiles(folder)) {
    if (left.kind === 'remark') {
      walked.remarks.push(left.text)
      continue
    }
    walked.files.push(left.artifact.name)
    onFile(left.artifact)
    walked.contents.push((await readAt(left.artifact.file, 0, 1000)).toString('utf8'))
  }
  return walked
}

const put = (name: string | Buffer, content = 'content') =>
  writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(name)]), content)
const openFiles = () => readdirSync('/proc/self/fd').length

test('plain files in directories are given, by their path', async () => {
  mkdirSync(join(folder, 'a/b'), { recursive: true })
  for (const name of ['z.txt', 'a/b/deep.txt', 'a/one.txt', '..double', 'ünï ☃.txt']) put(name, name)
  const { files, contents, remarks } = await walk()
  expect(files).toEqual(['..double', 'a/b/deep.txt', 'a/one.txt', 'z.txt', 'ünï ☃.txt'])
  expect(contents).toEqual(files)
  expect(remarks).toEqual([])
})

test('links, sockets and pipes are refused and said, and nothing behind them is read', async () => {
  symlinkSync(join(outside, 'credential.json'), join(folder, 'absolute'))
  symlinkSync('../../credential.json', join(folder, 'relative'))
  symlinkSync(outside, join(folder, 'directory'))
  symlinkSync('/proc/self/root', join(folder, 'proc'))
  symlinkSync('nowhere', join(folder, 'dangling'))
  execFileSync('mkfifo', [join(folder, 'pipe')])
  const socket = createServer()
  await new Promise<void>(resolve => socket.listen(join(folder, 'socket'), resolve))
  put('plain')
  const { files, contents, remarks } = await walk()
  await new Promise(resolve => socket.close(resolve))
  expect(files).toEqual(['plain'])
  expect(contents).toEqual(['content'])
  const names = ['absolute', 'dangling', 'directory', 'pipe', 'proc', 'relative', 'socket']
  expect(remarks.map(remark => /"(.*)" is not kept/.exec(remark)?.[1])).toEqual(names)
})

test('an artifacts directory that was replaced by a link leads nowhere, and it is said', async () => {
  rmSync(folder, { recursive: true })
  symlinkSync(outside, folder)
  expect(await walk()).toMatchObject({ files: [], remarks: [expect.stringContaining('replaced')] })
  rmSync(folder)
  expect(await walk()).toMatchObject({ files: [], remarks: [] })
})

test('what is swapped while it is walked is not followed', async () => {
  mkdirSync(join(folder, 'b-directory'))
  put('a-first')
  put('b-directory/inside')
  put('c-file')
  put('d-last', 'as it was found')
  const { files, contents } = await walk(({ name }) => {
    if (name === 'a-first') {
      renameSync(join(folder, 'b-directory'), join(outside, 'moved'))
      symlinkSync(outside, join(folder, 'b-directory'))
      rmSync(join(folder, 'c-file'))
      symlinkSync(join(outside, 'credential.json'), join(folder, 'c-file'))
    }
    if (name === 'd-last') {
      rmSync(join(folder, 'd-last'))
      symlinkSync(join(outside, 'credential.json'), join(folder, 'd-last'))
    }
  })
  expect(files).toEqual(['a-first', 'd-last'])
  expect(contents).toEqual(['content', 'as it was found'])
})

test('a file that is still written to is hashed as far as it was when it was found', async () => {
  put('grows', 'first')
  const hashes: Promise<{ size: number }>[] = []
  await walk(artifact => {
    appendFileSync(join(folder, 'grows'), ' and second')
    hashes.push(artifact.hashed())
  })
  expect((await Promise.all(hashes))[0]?.size).toBe(5)
})

describe('names', () => {
  test('that are unsafe are made safe, kept apart and said', async () => {
    put('new\nline.txt', '1')
    put('new\rline.txt', '2')
    put('new_line.txt', '3')
    put('back\\slash', '4')
    put(Buffer.from([0x66, 0xff]), '5')
    put(Buffer.from([0x66, 0xfe]), '6')
    put('evil\u202etxt.exe', '7')
    mkdirSync(join(folder, 'di\tr'))
    put('di\tr/..\u0007', '8')
    const { files, contents, remarks } = await walk()
    const named = Object.fromEntries(files.map((name, at) => [name, contents[at]]))
    expect(named).toEqual({
      'new_line~2.txt': '1',
      'new_line~3.txt': '2',
      'new_line.txt': '3',
      back_slash: '4',
      'f\ufffd': '6',
      'f\ufffd~2': '5',
      'evil_txt.exe': '7',
      'di_r/.._': '8',
    })
    for (const name of files) expect(artifactNameProblem(name)).toBeNull()
    expect(remarks).toContain('the artifact "new\\nline.txt" is kept as "new_line~2.txt"')
    expect(remarks).toHaveLength(8)
  })

  test('that are the same once they are safe cost no more for being many', async () => {
    for (let at = 0; at < 900; at++) put(`${'\u0001'.repeat(at % 30)}${'\u0002'.repeat(30 - (at % 30))}${at}`)
    expect(new Set((await walk()).files).size).toBe(900)
  })

  test('too long for a path of the contract are refused and said', async () => {
    const part = 'x'.repeat(250)
    mkdirSync(join(folder, part, part), { recursive: true })
    put(`${part}/${part}/${'y'.repeat(20)}`)
    const { files, remarks } = await walk()
    expect(files).toEqual([])
    expect(remarks).toEqual([expect.stringContaining('longer than 512 bytes')])
  })
})

describe('limits', () => {
  test('1000 files of 10,100 are given, and the rest is said', async () => {
    for (let at = 0; at < 10_100; at++) put(`${at}.txt`, '')
    const { files, remarks } = await walk()
    expect(files.length).toBe(1000)
    expect(remarks.length).toBe(9_001)
    expect(remarks.at(-1)).toBe('artifacts beyond 10000 are not looked at')
  })

  test('a tree without end is left at its 32nd directory', async () => {
    let path = folder
    for (let depth = 0; depth < 60; depth++) {
      path = join(path, 'd')
      mkdirSync(path)
    }
    put('above')
    const before = openFiles()
    const { files, remarks } = await walk()
    expect(files).toEqual(['above'])
    expect(remarks).toEqual([expect.stringContaining('deeper than 32 directories')])
    expect(openFiles()).toBe(before)
  })

  test('files with holes count as large as they say they are', async () => {
    for (const name of ['1', '2', '3', '4', '5']) {
      put(name)
      truncateSync(join(folder, name), 2 * GIB)
    }
    put('6')
    truncateSync(join(folder, '6'), 2 * GIB + 1)
    const { files, remarks } = await walk()
    expect(files).toEqual(['1', '2', '3', '4'])
    expect(remarks).toEqual([
      expect.stringContaining('in all'),
      expect.stringContaining('larger than 2147483648'),
    ])
  })

  test('no descriptor stays open, also when the walk is given up', async () => {
    mkdirSync(join(folder, 'a/b'), { recursive: true })
    put('a/b/file')
    const before = openFiles()
    for await (const left of artifactFiles(folder)) if (left.kind === 'file') break
    expect(openFiles()).toBe(before)
  })
})
