import { execFileSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { validate } from '@actions/languageservice'
import { describe, expect, test } from 'vitest'
import { TextDocument } from 'vscode-languageserver-textdocument'
import { parse } from 'yaml'
import { z } from 'zod'
import manifest from '../../package.json' with { type: 'json' }
import { VERSION } from '../../protocol/version.ts'
import { hasTools } from '../support/tools.ts'
import { ACTIONS, ROOT, run, WORKFLOWS } from './script.ts'

const FILES = globSync(['.github/workflows/*.yml', '.github/actions/*/action.yml'], { cwd: ROOT }).sort()
const SCRIPTS = globSync(['.github/**/*.sh', 'scripts/**/*.sh', '.ci/run'], { cwd: ROOT }).sort()
const read = (file: string) => readFileSync(`${ROOT}${file}`, 'utf8')

const Action = z.object({
  inputs: z.record(
    z.string(),
    z.object({ required: z.boolean().optional(), default: z.string().optional() }),
  ),
  outputs: z.record(z.string(), z.unknown()),
  runs: z.object({
    steps: z.array(
      z.object({ uses: z.string().optional(), with: z.record(z.string(), z.unknown()).optional() }),
    ),
  }),
})
const action = (name: string) => Action.parse(parse(read(`.github/actions/${name}/action.yml`)))

async function complaints(name: string, text: string): Promise<string[]> {
  const found = await validate(TextDocument.create(`file:///${name}`, 'yaml', 1, text))
  return found.map(({ range, message }) => `${name}:${range.start.line + 1} ${message}`)
}

describe('workflows and actions', () => {
  test.each(FILES)('%s is what GitHub takes', async file => {
    expect(await complaints(file, read(file))).toEqual([])
  })

  test('a misspelt key and an unknown context would be found', async () => {
    const text = read('.github/workflows/ci.yml')
    const wrong = {
      stepz: text.replace('steps:', 'stepz:'),
      githup: text.replace('github.ref', 'githup.ref'),
    }
    for (const [word, broken] of Object.entries(wrong)) {
      const said = await complaints(`.github/workflows/${word}.yml`, broken)
      expect(said.join()).toContain(word)
    }
  })

  test.each(FILES)('%s pins what others publish to a commit, and says which release that is', file => {
    for (const line of read(file)
      .split('\n')
      .filter(one => /^\s*(- )?uses:/.test(one))) {
      expect(line).toMatch(
        /uses: (\.\/\.github\/actions\/[\w-]+$|[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$)/,
      )
    }
  })

  test.each(FILES)('%s puts nothing that a caller wrote into a script', file => {
    const scripts = read(file).match(/^\s*run: .*$/gm) ?? []
    expect(scripts.filter(line => line.includes('${{'))).toEqual([])
  })

  test.each([
    ['runner', 'RUNNER_IMAGE_REPO'],
    ['agent', 'AGENT_IMAGE_REPO'],
  ])('publish-%s-image takes what it says and hands all of it on', (image, variable) => {
    const { inputs, outputs, runs } = action(`publish-${image}-image`)
    expect(Object.keys(inputs).sort()).toEqual(
      [
        'dockerhub_token',
        'dockerhub_username',
        'image_repo',
        'image_tag',
        'latest',
        'registry',
        'source_tag',
      ].sort(),
    )
    expect(Object.keys(outputs)).toEqual(['digest', 'tags'])
    expect(runs.steps[0]?.with).toMatchObject({
      image,
      image_repo: `\${{ inputs.image_repo || 'certyn/${image}' }}`,
      latest: `\${{ inputs.latest }}`,
    })
    const shared = Object.entries(action('publish-image').inputs)
    const given = Object.keys(runs.steps[0]?.with ?? {})
    expect(given.filter(name => !shared.some(([known]) => known === name))).toEqual([])
    expect(shared.filter(([name, { required }]) => required === true && !given.includes(name))).toEqual([])
    expect(inputs.latest?.default).toBe('false')
    for (const workflow of ['images', 'release']) {
      expect(read(`.github/workflows/${workflow}.yml`)).toContain(`image_repo: \${{ vars.${variable} }}`)
    }
  })

  test('images are built for both architectures, with what is in them and where they come from', () => {
    const { inputs, runs } = action('publish-image')
    expect(inputs.platforms?.default).toBe('linux/amd64,linux/arm64')
    const build = runs.steps.find(({ uses }) => uses?.startsWith('docker/build-push-action@'))
    expect(build?.with).toMatchObject({ sbom: true, provenance: 'mode=max' })
    expect(build?.with?.labels).toContain(`org.opencontainers.image.revision=\${{ github.sha }}`)
  })
})

describe.skipIf(!hasTools('shellcheck'))('shell', () => {
  test.each(SCRIPTS)('%s has nothing that shellcheck knows of', script => {
    expect(execFileSync('shellcheck', [script], { cwd: ROOT, encoding: 'utf8' })).toBe('')
  })
})

describe('a release', () => {
  const script = `${WORKFLOWS}/release-version.sh`

  test('is the one that every part of the sources says it is', () => {
    expect(VERSION).toBe(manifest.version)
    for (const image of ['runner', 'agent']) {
      expect(read(`${image}/Dockerfile`)).toContain(`ARG VERSION=${VERSION}\n`)
    }
  })

  test('of another tag than its sources say is refused', () => {
    expect(run(script, { TAG: `v${VERSION}` })).toMatchObject({ code: 0, outputs: { latest: 'true' } })
    for (const TAG of [VERSION, 'v9.9.9', `v${VERSION}-rc.1`]) {
      const { code, errors } = run(script, { TAG })
      expect([code, errors]).toEqual([2, expect.stringContaining(`package.json says ${VERSION}`)])
    }
  })

  test('to try out does not become latest', () => {
    const candidate = `${ACTIONS}/../../test/release/candidate`
    expect(run(script, { TAG: 'v1.0.0-rc.1' }, candidate).outputs).toEqual({ latest: 'false' })
  })
})
