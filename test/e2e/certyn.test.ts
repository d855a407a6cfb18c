import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  CreatedApiKey,
  CreatedRegistrationToken,
  CreatedTenant,
  Environment,
  Pool,
  PoolPage,
  pageOf,
  RegistrationToken,
  Runner,
} from '../../protocol/admin-api.ts'
import { CreatedLiveLink, LiveLink } from '../../protocol/live.ts'
import { Placement, Run, RunEvent } from '../../protocol/run.ts'
import { isWellFormedSecret, mintSecret } from '../../protocol/secrets.ts'
import { Artifacts } from '../../protocol/session-files.ts'
import { apiClient } from '../../scripts/up/api.ts'
import { BadWay } from '../support/bad-way.ts'
import { Certyn } from '../support/certyn.ts'
import { ControlPlane, OPERATOR_KEY } from '../support/control-plane.ts'
import { newFolder } from '../support/folders.ts'
import { node } from '../support/jobs.ts'
import { type Program, startProgram } from '../support/process.ts'
import { until } from '../support/until.ts'

/** One tenant's day with the client as it is shipped: real processes, a real control plane, a real runner. */

const IMAGE = 'registry.example/agent:v1'
const UNKNOWN_RUN = 'run_01kb4yq3v8e9c9v3m2d0f4k6ha'
const Downloaded = z.object({ items: z.array(z.object({ name: z.string(), file: z.string() })) })
const Refused = z.object({
  error: z.object({
    kind: z.string(),
    exit_code: z.number(),
    code: z.string().optional(),
    detail: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  }),
})

describe('certyn', () => {
  const controlPlane = new ControlPlane({ Features__SelfHostedRelayEnabled: 'true' })
  let built: Certyn
  let certyn: Certyn
  let apiKey: string
  let secret: string
  let runner: Program | undefined
  let way: BadWay

  beforeAll(async () => {
    await controlPlane.start()
    way = await BadWay.to(controlPlane.url)
    built = await Certyn.built()
    const operator = apiClient(controlPlane.url, OPERATOR_KEY)
    const tenant = await operator.post('/tenants', { slug: 'acme', name: 'Acme' }, CreatedTenant)
    apiKey = tenant.api_key.secret
    certyn = built.with({ CERTYN_URL: controlPlane.url, CERTYN_API_KEY: apiKey })
  })
  afterAll(async () => {
    await runner?.end('SIGTERM')
    await way.close()
    await controlPlane.stop()
  })

  const startRun = async (...words: readonly string[]) =>
    Run.parse(await certyn.json('runs', 'start', 'staging', ...words))
  const showRun = async (id: string) => Run.parse(await certyn.json('runs', 'show', id))
  const sleeping = ['--', ...node('setTimeout(() => {}, 600000)')]

  test('makes a pool and a token, whose secret is shown this once', async () => {
    const pool = Pool.parse(await certyn.json('pools', 'create', 'west', '--description', 'Docker hosts'))
    expect(PoolPage.parse(await certyn.json('pools', 'list')).items).toEqual([pool])
    expect(Pool.parse(await certyn.json('pools', 'show', 'west'))).toEqual(pool)

    const created = await certyn.json('tokens', 'create', 'west', '--expires', '15m', '--max-uses', '1')
    const token = CreatedRegistrationToken.parse(created)
    secret = token.secret
    expect(isWellFormedSecret('registrationToken', secret)).toBe(true)
    expect(token).toMatchObject({ pool_id: pool.id, max_uses: 1 })
    expect(token.docker_run).toContain(`RUNNER_POOL_ID=${pool.id}`)
    const { items } = pageOf(RegistrationToken).parse(await certyn.json('tokens', 'list', 'west'))
    expect(items).toMatchObject([{ id: token.id, uses: 0, revoked_at: null }])
  })

  test('sees a runner come online', async () => {
    const pool = Pool.parse(await certyn.json('pools', 'show', 'west'))
    const early = await certyn.run('runners', 'watch', 'west', '--until-online', '1', '--wait-timeout', '1s')
    expect(early.code).toBe(8)
    const doctor = await certyn.run('doctor')
    expect(doctor).toMatchObject({ code: 0, stderr: '' })
    expect(doctor.stdout).toContain(`certyn tokens create ${pool.id}`)

    const watching = certyn.start('--json', 'runners', 'watch', 'west', '--until-online', '1')
    runner = startProgram('runner/main.ts', [], {
      CONTROL_PLANE_URL: controlPlane.url,
      RUNNER_POOL_ID: pool.id,
      REGISTRATION_TOKEN: secret,
      RUNNER_NAME: 'rack-4',
      RUNNER_EXECUTOR: 'host',
      RUNNER_STATE_DIR: newFolder('rack-4'),
      RUNNER_LABELS: 'site=west',
      RUNNER_STOP_GRACE_SECONDS: '2',
      RUNNER_MIN_DISK_MB: '0',
      MAX_CONCURRENCY: '2',
    })
    const { code, stdout } = await watching.ended
    expect(code).toBe(0)
    const last = JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
    expect(last).toMatchObject({ type: 'runner', runner: { name: 'rack-4', status: 'online' } })
    const { items } = pageOf(Runner).parse(await certyn.json('runners', 'list', 'west'))
    expect(items.map(({ name, labels }) => ({ name, labels }))).toEqual([
      { name: 'rack-4', labels: { site: 'west' } },
    ])
  })

  test('routes an environment to the pool', async () => {
    const made = Environment.parse(await certyn.json('environments', 'create', 'staging', '--cloud'))
    expect(made).toMatchObject({ execution_target: 'cloud', pool_id: null, default_image: null })
    const edit = ['environments', 'edit', 'staging', '--pool', 'west', '--image', IMAGE]
    const edited = Environment.parse(await certyn.json(...edit))
    expect(edited).toMatchObject({ id: made.id, execution_target: 'self_hosted', default_image: IMAGE })
    expect(Environment.parse(await certyn.json('environments', 'show', 'staging'))).toEqual(edited)
  })

  test.each([
    { how: 'succeeds', words: ['--', ...node('process.exit(0)')], code: 0, status: 'succeeded' },
    { how: 'fails by itself', words: ['--', ...node('process.exit(7)')], code: 1, status: 'failed' },
    { how: 'takes too long', words: ['--timeout', '1s', ...sleeping], code: 5, status: 'timed_out' },
  ])('starts a run that $how and ends as it did', async ({ words, code, status }) => {
    const ended = await certyn.run('--json', 'runs', 'start', 'staging', '--wait', '--no-stream', ...words)
    expect(ended.code, ended.stderr).toBe(code)
    const run = Run.parse(JSON.parse(ended.stdout))
    expect(run.status).toBe(status)
    expect((await certyn.run('runs', 'wait', run.id)).code).toBe(code)
  })

  test('hands a run its variables, labels and limits', async () => {
    const file = path.join(newFolder('env'), 'run.env')
    writeFileSync(file, 'FROM_FILE=file\nBOTH=file\n')
    const script = 'console.log([process.env.FROM_FILE, process.env.BOTH, process.env.FROM_HERE].join())'
    const { code, stdout } = await certyn
      .with({ FROM_HERE: 'here' })
      .run(
        ...['runs', 'start', 'staging', '--follow', '--env-file', file, '-e', 'BOTH=flag', '-e', 'FROM_HERE'],
        ...['--label', 'site=west', '--metadata', 'commit=abc', '--priority', '-5', '--', ...node(script)],
      )
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'file,flag,here\n' })
    const { items } = pageOf(Run).parse(await certyn.json('runs', 'list', '--limit', '1'))
    expect(items).toMatchObject([
      { labels: { site: 'west' }, metadata: { commit: 'abc' }, priority: -5, status: 'succeeded' },
    ])
  })

  test('starts nothing twice when the reply is lost', async () => {
    const before = pageOf(Run).parse(await certyn.json('runs', 'list', '--all')).items.length
    way.faults.push({ when: /^POST .*\/runs$/, kind: 'reply_lost' })
    const run = Run.parse(
      await certyn.with({ CERTYN_URL: way.url }).json('runs', 'start', 'staging', '--', ...node('')),
    )
    const posts = way.calls.filter(({ call }) => /^POST .*\/runs$/.test(call))
    expect(posts).toHaveLength(2)
    expect(new Set(posts.map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
    await certyn.run('runs', 'wait', run.id)
    const after = pageOf(Run).parse(await certyn.json('runs', 'list', '--all')).items
    expect(after).toHaveLength(before + 1)
  })

  test('follows a log to its end over a line that breaks, without loss or repetition', async () => {
    const script = `
      let at = 0
      const timer = setInterval(() => {
        for (let n = 0; n < 100; n++) console.log('line ' + at++ + ' é€😀')
        if (at === 1500) clearInterval(timer)
      }, 200)`
    for (const afterBytes of [1_000, 9_001, 9_002, 9_003]) {
      way.faults.push({ when: /logs\?follow=1/, kind: 'cut', afterBytes })
    }
    const { id } = await startRun('--', ...node(script))
    const followed = await certyn.with({ CERTYN_URL: way.url }).run('runs', 'logs', '-f', id)
    expect(followed.code, followed.stderr).toBe(0)
    const lines = Array.from({ length: 1500 }, (_, at) => `line ${at} é€😀\n`).join('')
    expect(followed.stdout).toBe(lines)
    const follows = way.calls.filter(({ call }) => call.includes('follow=1'))
    expect(follows.length).toBe(5)
    expect(
      follows.slice(1).every(({ headers }) => /^ses_\w+\.\d+$/.test(`${headers['last-event-id']}`)),
    ).toBe(true)
    expect((await certyn.run('runs', 'logs', id)).stdout).toBe(lines)
  })

  test('brings artifacts whole, also over a line that breaks', async () => {
    const script = `
      const { mkdirSync, writeFileSync } = require('fs')
      const folder = process.env.CERTYN_ARTIFACTS_DIR
      mkdirSync(folder + '/deep')
      writeFileSync(folder + '/deep/a #1.bin', Buffer.from(Array.from({ length: 300000 }, (_, at) => at % 251)))
      writeFileSync(folder + '/empty.txt', '')`
    const { id } = await startRun('--', ...node(script))
    await certyn.run('runs', 'wait', id)
    const folder = newFolder('brought')
    const names = ['deep/a #1.bin', 'empty.txt']
    const list = ['runs', 'artifacts', 'list', id]
    await until('the artifacts are there', async () => {
      return Artifacts.parse(await certyn.json(...list)).items.length === names.length
    })
    way.faults.push({ when: /artifacts\/deep/, kind: 'cut', afterBytes: 100_001 })
    const bring = ['runs', 'artifacts', 'download', id, '-o', folder]
    const { items } = Downloaded.parse(await certyn.with({ CERTYN_URL: way.url }).json(...bring))
    expect(items.map(({ name }) => name)).toEqual(names)
    const expected = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at % 251))
    expect(readFileSync(path.join(folder, 'deep', 'a #1.bin')).equals(expected)).toBe(true)
    expect(readFileSync(path.join(folder, 'empty.txt'), 'utf8')).toBe('')
    const parts = way.calls.filter(({ call }) => call.includes('artifacts/deep'))
    expect(parts).toHaveLength(2)
    expect((await certyn.run('runs', 'artifacts', 'download', id, 'nothing.txt')).code).toBe(3)
  })

  test('drains the pool, says why a run waits, and lets it go on', async () => {
    await certyn.json('pools', 'drain', 'west', '--note', 'kernel update')
    const { id } = await startRun('--', ...node(''))
    const waited = await certyn.run('runs', 'wait', id, '--wait-timeout', '2s')
    expect(waited.code).toBe(8)
    expect(waited.stderr).toContain('rack-4: pool_draining')
    expect(await showRun(id)).toMatchObject({ status: 'queued', attempt: 0 })
    const placement = Placement.parse(await certyn.json('runs', 'placement', id))
    expect(placement).toMatchObject({
      waiting_for: 'resume',
      candidates: [{ name: 'rack-4', eligible: false }],
    })
    const table = (await certyn.run('pools', 'list')).stdout
    expect(table).toMatch(/west +draining +1\/1 +0\/2 +1 .*kernel update/)
    expect((await certyn.run('doctor')).stdout).toContain('draining (kernel update)')

    await certyn.json('pools', 'resume', 'west')
    expect((await certyn.run('runs', 'wait', id)).code).toBe(0)
    const types = await until('the end is among the events', async () => {
      const { items } = pageOf(RunEvent).parse(await certyn.json('runs', 'events', id, '--all'))
      return items.at(-1)?.type === 'succeeded' && items.map(({ type }) => type)
    })
    expect(types.slice(0, 2)).toEqual(['queued', 'offered'])
  })

  test('cancels a run', async () => {
    const { id } = await startRun(...sleeping)
    await certyn.json('runs', 'cancel', id)
    expect((await certyn.run('runs', 'wait', id)).code).toBe(6)
  })

  test('leaves a run alone on Ctrl-C, or cancels it where that was asked for', async () => {
    const started = certyn.start('runs', 'start', 'staging', '--wait', ...sleeping)
    const id = await until('it runs', () => /(run_\w+) running/.exec(started.stderr())?.[1])
    started.signal('SIGINT')
    const left = await started.ended
    expect(left.code).toBe(130)
    expect(left.stderr).toContain(`certyn runs cancel ${id}`)
    expect((await showRun(id)).status).toBe('running')

    const waiting = certyn.start('runs', 'wait', id, '--cancel-on-interrupt')
    await until('it waits', () => waiting.stderr().includes('running'))
    waiting.signal('SIGINT')
    expect((await waiting.ended).code).toBe(6)
    expect((await showRun(id)).status).toBe('cancelled')
  })

  test('makes and revokes a live link', async () => {
    const { id } = await startRun(...sleeping)
    const link = CreatedLiveLink.parse(await certyn.json('live-links', 'create', id, '--expires', '15m'))
    expect(link.url).toContain(`/live/${id}#`)
    await certyn.json('live-links', 'revoke', link.id)
    const { items } = pageOf(LiveLink).parse(await certyn.json('live-links', 'list', id))
    expect(items).toMatchObject([{ id: link.id, mode: 'view', revoked_at: expect.any(String) }])
    await certyn.json('runs', 'cancel', id)
  })

  test.skipIf(!existsSync('/usr/bin/script'))(
    'fits a terminal, in colour; a pipe gets it all, plain',
    async () => {
      const piped = (await certyn.run('pools', 'list')).stdout
      expect(piped).not.toContain('\x1b')
      expect(piped).toMatch(/^ID +NAME +STATE .*\npol_\w{26} +west +active/)

      const terminal = (width: number, words: string) =>
        execFileSync('script', ['-qec', `stty cols ${width}; ${certyn.command} ${words}`, '/dev/null'], {
          env: { ...certyn.environment, TERM: 'xterm' },
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'inherit'],
        })
      const shown = terminal(50, 'pools list')
      expect(shown).toContain('\x1b[32mactive')
      const widths = stripVTControlCharacters(shown)
        .split('\r\n')
        .map(line => line.length)
      expect(Math.max(...widths)).toBeLessThanOrEqual(50)

      const waited = terminal(200, `runs start staging --wait -- ${process.execPath} -e 0`)
      expect(waited).toContain('\r\x1b[2K')
      expect(stripVTControlCharacters(waited)).toMatch(/run_\w{26} succeeded after \d+s, exit code 0/)
    },
  )

  test('completes what is typed in a shell, and evaluates none of it', async () => {
    const evil = path.join(newFolder('shell'), 'evil')
    const script = `
      certyn() { ${certyn.command} "$@"; }
      source <(certyn completion bash)
      for words in 'certyn runs c' 'certyn keys create x$(touch\\ ${evil}) --role m'; do
        read -ra COMP_WORDS <<<"$words"
        COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
        _certyn
        echo "\${COMPREPLY[*]}"
      done`
    const options = { env: certyn.environment, encoding: 'utf8' } as const
    expect(execFileSync('bash', ['-c', script], options)).toBe('cancel\nmember\n')
    expect(existsSync(evil)).toBe(false)
  })

  test('pages through a list as far as it is told to', async () => {
    const listed = async (...words: readonly string[]) => {
      const { items, next_cursor } = pageOf(Run).parse(await certyn.json('runs', 'list', ...words))
      return { ids: items.map(({ id }) => id), next_cursor }
    }
    const all = await listed('--all')
    expect(all.next_cursor).toBeNull()
    const first = await listed('--limit', '2')
    expect(first.ids).toEqual(all.ids.slice(0, 2))
    const next = await listed('--limit', '2', '--cursor', `${first.next_cursor}`)
    expect(next.ids).toEqual(all.ids.slice(2, 4))
    expect((await certyn.run('runs', 'list', '--limit', '1')).stderr).toContain('there are more: --all')
  })

  test('makes a key that may do less, and revokes it', async () => {
    const key = CreatedApiKey.parse(await certyn.json('keys', 'create', 'looks', '--role', 'viewer'))
    const viewer = certyn.with({ CERTYN_API_KEY: key.secret })
    expect(await viewer.json('whoami')).toMatchObject({ key: { role: 'viewer' }, tenant: { slug: 'acme' } })
    const refused = await viewer.run('pools', 'create', 'east')
    expect(refused).toMatchObject({ code: 3, stdout: '' })
    expect(refused.stderr).toContain('POST /api/v1/pools: forbidden')
    await certyn.json('keys', 'revoke', key.id)
    const revoked = await viewer.run('--json', 'whoami')
    expect(revoked.code).toBe(3)
    expect(Refused.parse(JSON.parse(revoked.stderr)).error.code).toBe('unauthenticated')
  })

  describe('refuses, with an exit code and a reason', () => {
    const cases = [
      ['an unknown command', ['pools', 'lst'], 2, 'Did you mean list?'],
      ['an unknown option', ['pools', 'list', '--al'], 2, 'Did you mean --all?'],
      ['a missing argument', ['pools', 'show'], 2, "missing required argument 'pool'"],
      ['too many arguments', ['pools', 'list', 'x'], 2, 'too many arguments'],
      ['a bad duration', ['tokens', 'create', 'west', '--expires', '1y'], 2, 'such as 90s, 15m, 2h or 7d'],
      ['a bad id', ['runs', 'show', 'west'], 2, 'starts with run_'],
      ['a bad status', ['runs', 'list', '--status', 'done'], 2, '--status'],
      [
        'options that exclude each other',
        ['pools', 'list', '--all', '--limit', '1'],
        2,
        'exclude each other',
      ],
      ['an unknown id', ['runs', 'show', UNKNOWN_RUN], 3, 'not_found'],
      ['an unknown name', ['pools', 'show', 'nowhere'], 3, 'the name "nowhere"'],
      ['what the API refuses, with the field', ['pools', 'create', ' '], 3, 'name: must not be empty'],
      ['a cursor of another list', ['pools', 'list', '--cursor', 'x'], 3, 'cursor: '],
    ] as const
    test.each(cases)('%s', async (_, words, code, said) => {
      const [text, json] = await Promise.all([certyn.run(...words), certyn.run('--json', ...words)])
      expect(text.code, text.stderr).toBe(code)
      expect(text.stdout).toBe('')
      expect(text.stderr).toContain(said)
      const { error } = Refused.parse(JSON.parse(json.stderr))
      expect({ code: json.code, exit_code: error.exit_code, stdout: json.stdout }).toEqual({
        code,
        exit_code: code,
        stdout: '',
      })
    })

    const settings = [
      ['no address', { CERTYN_URL: '' }, 2, 'CERTYN_URL: is required'],
      ['an address that is none', { CERTYN_URL: 'certyn' }, 2, 'CERTYN_URL: expected'],
      ['plain HTTP to elsewhere', { CERTYN_URL: 'http://192.0.2.1' }, 2, 'CERTYN_ALLOW_HTTP=1'],
      ['no key', { CERTYN_API_KEY: '' }, 2, 'CERTYN_API_KEY: is required'],
      ['a key that is cut', { CERTYN_API_KEY: mintSecret('apiKey').slice(0, -1) }, 2, 'holds no API key'],
      ['a key file that is not there', { CERTYN_API_KEY: '', CERTYN_API_KEY_FILE: '/none' }, 2, 'ENOENT'],
      ['an unknown key', { CERTYN_API_KEY: mintSecret('apiKey') }, 3, 'unauthenticated'],
      ['a port where nobody is', { CERTYN_URL: 'http://127.0.0.1:1' }, 4, 'ECONNREFUSED'],
    ] as const
    test.each(settings)('%s', async (_, env, code, said) => {
      const ended = await certyn.with(env).run('pools', 'list')
      expect({ code: ended.code, stdout: ended.stdout }, ended.stderr).toEqual({ code, stdout: '' })
      expect(ended.stderr).toContain(said)
    })

    test('a secret as an argument, which it does not repeat', async () => {
      const key = mintSecret('apiKey')
      for (const words of [[`--api-key=${key}`], ['--api-key', key], [key], [`--whatever=${key}`]]) {
        const { code, stderr } = await certyn.run(...words, 'pools', 'list')
        expect(code).toBe(2)
        expect(stderr).not.toContain(key)
      }
      expect((await certyn.run('--api-key=x')).stderr).toContain('set CERTYN_API_KEY')
    })

    const bodies = [
      ['a page', 200, '<html>hello</html>', 'not valid JSON'],
      ['JSON of another kind', 200, '{"items": 7}', 'items is not as expected'],
      ['a failure of another kind', 418, '{"message": "no"}', 'something that is not this API’s'],
      ['a redirect', 302, '', 'never followed'],
      ['a proxy’s error', 502, 'Bad Gateway', 'answered 502'],
    ] as const
    test.each(bodies)('%s in place of an answer', async (_, status, body, said) => {
      const server = createServer((_incoming, answer) => {
        answer.writeHead(status, { location: 'http://127.0.0.1:1/' }).end(body)
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as AddressInfo
      const ended = await certyn.with({ CERTYN_URL: `http://127.0.0.1:${port}` }).run('pools', 'list')
      server.close()
      expect({ code: ended.code, stdout: ended.stdout }, ended.stderr).toEqual({ code: 4, stdout: '' })
      expect(ended.stderr).toContain(said)
    })
  })

  test('drains, resumes and removes a runner, and deletes what is empty', async () => {
    const drained = Runner.parse(
      await certyn.json('runners', 'drain', 'west', 'rack-4', '--note', 'new disk'),
    )
    expect(drained).toMatchObject({ status: 'draining', note: 'new disk' })
    expect(Runner.parse(await certyn.json('runners', 'resume', 'west', 'rack-4')).note).toBeNull()
    const full = await certyn.run('pools', 'delete', 'west')
    expect(full.code).toBe(3)
    expect(full.stderr).toContain('pool_not_empty')
    await certyn.json('runners', 'remove', 'west', 'rack-4', '--force')
    expect((await certyn.run('environments', 'delete', 'staging')).code).toBe(0)
    const { items } = pageOf(RegistrationToken).parse(await certyn.json('tokens', 'list', 'west'))
    await certyn.json('tokens', 'revoke', 'west', items[0]?.id ?? '')
    await until('the pool is empty', async () => (await certyn.run('pools', 'delete', 'west')).code === 0)
    expect((await certyn.run('pools', 'show', 'west')).code).toBe(3)
  })

  test('has a doctor that finds a control plane that is gone, with the remedy', async () => {
    const ended = await certyn.with({ CERTYN_URL: 'http://127.0.0.1:1' }).run('--json', 'doctor')
    expect(ended.code).toBe(1)
    expect(JSON.parse(ended.stdout)).toMatchObject({
      ok: false,
      checks: [{ name: 'control plane', outcome: 'fail', remedy: expect.stringContaining('CERTYN_URL') }],
    })
  })

  test('has said no secret in all that time', () => {
    expect(built.said.length).toBeGreaterThan(100)
    const all = built.said.join('\n')
    expect([all.includes(apiKey), all.includes(secret), /cty_[a-z]+_[0-9A-Za-z]{40}/.test(all)]).toEqual([
      false,
      false,
      false,
    ])
  })
})
