import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CreatedTenant } from '../../protocol/admin-api.ts'
import { CreatedLiveLink } from '../../protocol/live.ts'
import { Run } from '../../protocol/run.ts'
import { Artifacts } from '../../protocol/session-files.ts'
import { nodeBundle } from '../../scripts/build/node-bundle.ts'
import { documentedCommands } from '../support/documented.ts'
import { HAS_ENGINE } from '../support/engine.ts'
import { newFolder } from '../support/folders.ts'
import { cleanEnvironment, type Program, programOf, ROOT } from '../support/process.ts'
import { Daemon } from '../support/runner.ts'
import { hasTools } from '../support/tools.ts'
import { until } from '../support/until.ts'

/** Every command that a document tells its reader to type is typed here, or there is a reason why not. */

type Treatment =
  | { readonly by: 'this test' }
  | { readonly by: 'another'; readonly file: string }
  | { readonly by: 'nobody'; readonly why: string }

const HERE: Treatment = { by: 'this test' }
const elsewhere = (file: string): Treatment => ({ by: 'another', file })
const never = (why: string): Treatment => ({ by: 'nobody', why })

const CHECKS = never('is a step of .ci/run beside the tests')
const TESTS = never('is what runs this test, or a part of it')
const ACCOUNT = never('needs an account at Cloudflare and somebody who signs in')
const JSON_BODY = "-H 'content-type: application/json'"

const TREATMENTS: Readonly<Record<string, Treatment>> = {
  'npm run up': elsewhere('test/e2e/set-up.test.ts'),
  'npm run up -- --once': elsewhere('test/e2e/set-up.test.ts'),
  'npm test': TESTS,
  'npx vitest run --project core': TESTS,
  'npx vitest run --project runner test/runner/config': TESTS,
  'npm run lint': CHECKS,
  'npm run typecheck': CHECKS,
  'npm run format': never('rewrites the checkout; npm run lint finds the same'),
  'npm run docs': never('rewrites the checkout; test/settings-reference.test.ts finds what it would change'),
  'npm run build': never('rewrites what other tests are using; .ci/run has wrangler call it'),
  'npm run build && docker build -f agent/Dockerfile -t certyn/agent:v0.1.0 .': elsewhere(
    'scripts/images/agent-image.sh',
  ),
  'npm run build && docker build -f runner/Dockerfile -t certyn/runner:v0.1.0 .': elsewhere(
    'test/e2e/runner-image.test.ts',
  ),
  'npx wrangler login': ACCOUNT,
  'npx wrangler rollback --name certyn-self-hosted-runners': ACCOUNT,
  'npm run deploy -- --dry-run': elsewhere('test/e2e/deploy.test.ts'),
  'npm run deploy': elsewhere('test/e2e/deploy.test.ts'),
  'OPERATOR_KEY=<OPERATOR_KEY> npm run deploy': elsewhere('test/e2e/deploy.test.ts'),
  'docker run -d --name certyn-runner --restart unless-stopped -v /var/run/docker.sock:/var/run/docker.sock -v /var/lib/certyn-runner:/var/lib/certyn-runner -e CONTROL_PLANE_URL=https://<YOUR_WORKER> -e RUNNER_POOL_ID=<POOL_ID> -e REGISTRATION_TOKEN=<REGISTRATION_TOKEN> -e RUNNER_NAME=runner-east-1 -e MAX_CONCURRENCY=2 docker.io/certyn/runner:<tag>':
    elsewhere('test/e2e/runner-image.test.ts'),
  'docker exec certyn-runner node /usr/local/lib/certyn-runner/runner.mjs doctor': elsewhere(
    'test/e2e/runner-host.test.ts',
  ),
  'docker ps --filter label=certyn.session_id': HERE,
  'install -m 755 dist/cli/certyn.mjs /usr/local/bin/certyn': HERE,
  'OPERATOR_KEY=<OPERATOR_KEY> Features__SelfHostedRunnersEnabled=true npm run control-plane -- --port 8787 --state-dir /var/lib/certyn-control-plane':
    HERE,
  [`curl -X POST https://<YOUR_WORKER>/api/v1/tenants -H 'authorization: Bearer <OPERATOR_KEY>' ${JSON_BODY} -d '{"slug": "acme", "name": "Acme"}'`]:
    HERE,
  [`curl -X PUT https://<YOUR_WORKER>/api/v1/members -H 'authorization: Bearer <ADMIN_KEY>' ${JSON_BODY} -d '{"email": "ann@acme.example", "role": "member"}'`]:
    HERE,
  'export CERTYN_URL=https://<YOUR_WORKER> CERTYN_API_KEY=<ADMIN_KEY>': HERE,
  'export CERTYN_URL=http://127.0.0.1:8787 CERTYN_API_KEY=<ADMIN_KEY>': HERE,
  'certyn pools create office': HERE,
  'certyn tokens create office --max-uses 1': HERE,
  'certyn environments create staging --pool office': HERE,
  'certyn runs start staging --wait -- npx playwright test': HERE,
  'certyn runs start staging --follow --cancel-on-interrupt --timeout 30m -- npx playwright test': HERE,
  'certyn completion bash > ~/.local/share/bash-completion/completions/certyn': HERE,
  'certyn completion zsh > ~/.zfunc/_certyn': HERE,
  'certyn completion fish > ~/.config/fish/completions/certyn.fish': HERE,
  [`curl -X POST http://127.0.0.1:8787/api/v1/environments/<ENVIRONMENT_ID>/runs -H 'authorization: Bearer <ADMIN_KEY>' ${JSON_BODY} -d '{"image": "docker.io/library/busybox:1.36", "command": ["echo", "hello"]}'`]:
    HERE,
  'npm run -s certyn -- runs start <ENVIRONMENT_ID> --image docker.io/library/busybox:1.36 --follow -- echo hello':
    HERE,
  "curl http://127.0.0.1:8787/api/v1/runs/<RUN_ID>/logs -H 'authorization: Bearer <ADMIN_KEY>'": HERE,
  "curl http://127.0.0.1:8787/api/v1/runs/<RUN_ID>/artifacts -H 'authorization: Bearer <ADMIN_KEY>'": HERE,
  [`curl -X POST http://127.0.0.1:8787/api/v1/runs/<RUN_ID>/live-links -H 'authorization: Bearer <ADMIN_KEY>' ${JSON_BODY} -d '{"mode": "view", "expires_in_seconds": 3600, "max_viewers": 10}'`]:
    HERE,
}

const DOCUMENTED = documentedCommands()

test('each has its treatment, and no treatment is left over', () => {
  const untreated = DOCUMENTED.filter(({ command }) => TREATMENTS[command] === undefined)
  expect(untreated).toEqual([])
  const documented = new Set(DOCUMENTED.map(({ command }) => command))
  expect(Object.keys(TREATMENTS).filter(command => !documented.has(command))).toEqual([])
  for (const treatment of Object.values(TREATMENTS)) {
    if (treatment.by === 'another')
      expect(existsSync(path.join(ROOT, treatment.file)), treatment.file).toBe(true)
  }
})

describe.skipIf(!hasTools('bash', 'curl'))('typed one after the other', () => {
  const home = newFolder('reader')
  const bin = path.join(home, 'bin')
  const typed = new Set<string>()
  const values: Record<string, string> = {
    OPERATOR_KEY: 'operator-key-of-the-reader',
    'dist/cli/certyn.mjs': path.join(home, 'certyn.mjs'),
    '/usr/local/bin': bin,
    '/var/lib/certyn-control-plane': path.join(home, 'control-plane'),
    '--port 8787': '--port 0',
  }
  const environment: Record<string, string | undefined> = {
    ...cleanEnvironment(),
    HOME: home,
    PATH: [bin, path.join(ROOT, 'node_modules/node/bin'), process.env.PATH].join(path.delimiter),
    Features__SelfHostedRelayEnabled: 'true',
    SelfHosted__SyncIdleSeconds: '1',
    Docker__DefaultImage: 'docker.io/library/busybox:1.36',
  }
  let controlPlane: Program | undefined
  let daemon: Daemon | undefined

  beforeAll(async () => {
    for (const folder of [
      'bin',
      '.local/share/bash-completion/completions',
      '.zfunc',
      '.config/fish/completions',
    ])
      mkdirSync(path.join(home, folder), { recursive: true })
    const entry = { entry: 'cli/main.ts', output: path.relative(ROOT, values['dist/cli/certyn.mjs'] ?? '') }
    await nodeBundle(ROOT, entry)
    // The test itself is the reader's own; that it is called, and how it ends, is what matters here.
    writeFileSync(path.join(bin, 'npx'), '#!/bin/sh\necho "tested by $*"\n')
    chmodSync(path.join(bin, 'npx'), 0o755)
  })
  afterAll(async () => {
    await daemon?.end('SIGTERM')
    if (controlPlane !== undefined) process.kill(-controlPlane.pid, 'SIGTERM')
    await controlPlane?.exited
  })

  /** @param beginning of one documented command, which this test is to type; with its placeholders filled */
  function filled(beginning: string, ...more: readonly string[]): string {
    const matching = Object.keys(TREATMENTS).filter(
      command => command.startsWith(beginning) && more.every(part => command.includes(part)),
    )
    const [command] = matching
    if (command === undefined || matching.length > 1 || TREATMENTS[command] !== HERE)
      throw new Error(`not one command: ${beginning}`)
    typed.add(command)
    return Object.entries(values).reduce(
      (text, [name, value]) => text.replaceAll(/^[A-Z_]+$/.test(name) ? `<${name}>` : name, value),
      command,
    )
  }

  function start(command: string) {
    const options = { cwd: ROOT, detached: true, env: environment }
    return spawn('bash', ['-c', command], { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  }

  async function ends(command: string): Promise<string> {
    const child = start(command)
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      stdout += text
    })
    const program = programOf(child)
    const { code } = await program.exited
    expect(code, program.output()).toBe(0)
    return stdout
  }

  /** @returns what it wrote, after it has ended well */
  function type(beginning: string, ...more: readonly string[]): Promise<string> {
    return ends(filled(beginning, ...more))
  }

  /** A reader's shell keeps what is exported; here each command has a shell of its own. */
  async function typeExport(beginning: string): Promise<void> {
    const names = [...beginning.matchAll(/\w+(?==)/g)].map(([name]) => name)
    const said = await ends(
      `${filled(beginning)}\nprintf '%s\\n' ${names.map(name => `"$${name}"`).join(' ')}`,
    )
    for (const [at, value] of said.trim().split('\n').entries()) environment[names[at] ?? ''] = value
  }

  test('the control plane comes up, and has a tenant with people in it', async () => {
    controlPlane = programOf(start(filled('OPERATOR_KEY=<OPERATOR_KEY> Features__')))
    const output = controlPlane.output
    const url = await until('it is ready', () => /ready on (http:\S+\d)/.exec(output())?.[1])
    values['https://<YOUR_WORKER>'] = url
    values['http://127.0.0.1:8787'] = url
    const tenant = CreatedTenant.parse(JSON.parse(await type('curl -X POST', '/tenants ')))
    expect(tenant.tenant.slug).toBe('acme')
    values.ADMIN_KEY = tenant.api_key.secret
    expect(await type('curl -X PUT')).toContain('ann@acme.example')
  })

  test('the client is installed, completes, and makes a pool that a runner joins', async () => {
    await type('install -m 755')
    await typeExport('export CERTYN_URL=https://<YOUR_WORKER> CERTYN_API_KEY=<ADMIN_KEY>')
    for (const [shell, file] of [
      ['bash', '.local/share/bash-completion/completions/certyn'],
      ['zsh', '.zfunc/_certyn'],
      ['fish', '.config/fish/completions/certyn.fish'],
    ]) {
      await type(`certyn completion ${shell}`)
      expect(existsSync(path.join(home, file ?? ''))).toBe(true)
    }
    await type('certyn pools create')
    const shown = await type('certyn tokens create')
    const given = Object.fromEntries(
      [...shown.matchAll(/-e (\w+)=(\S+)/g)].map(([, name, value]) => [name, value ?? '']),
    )
    expect(given).toMatchObject({ CONTROL_PLANE_URL: values['https://<YOUR_WORKER>'] })
    const env = { ...given, RUNNER_NAME: 'east', RUNNER_EXECUTOR: 'host', PATH: environment.PATH ?? '' }
    daemon = Daemon.with({ name: 'east', env }).start()
    await until('the runner has joined', () => daemon?.log().includes('registered'))
  })

  test('an environment sends its runs there, whose ends are the client’s', async () => {
    values.ENVIRONMENT_ID = /env_\w+/.exec(await type('certyn environments create'))?.[0] ?? ''
    await type('certyn runs start staging --wait')
    expect(await type('certyn runs start staging --follow')).toContain('tested by playwright test')
    await typeExport('export CERTYN_URL=http://127.0.0.1:8787 CERTYN_API_KEY=<ADMIN_KEY>')
    expect(await type('npm run -s certyn')).toContain('hello')
  })

  test('a run is started by curl, leaves its log and artifacts, and can be shown to somebody', async () => {
    // A run that has ended can be shown to nobody, so it begins when the link is made.
    await ends('certyn pools drain office')
    values.RUN_ID = Run.parse(JSON.parse(await type('curl -X POST', '/environments/'))).id
    CreatedLiveLink.parse(JSON.parse(await type('curl -X POST', '/live-links')))
    await ends('certyn pools resume office')
    await until('its log is there', async () => (await type('curl http', '/logs')) === 'hello\n')
    Artifacts.parse(JSON.parse(await type('curl http', '/artifacts')))
  })

  test.skipIf(!HAS_ENGINE || !hasTools('docker'))('jobs are listed', async () => {
    expect(await type('docker ps')).toContain('CONTAINER ID')
  })

  test('and none is left out', () => {
    const here = Object.keys(TREATMENTS).filter(command => TREATMENTS[command] === HERE)
    expect(here.filter(command => !typed.has(command) && !command.startsWith('docker '))).toEqual([])
  })
})
