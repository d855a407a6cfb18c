import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { VERSION } from '../../protocol/version.ts'
import { ControlPlane } from '../support/control-plane.ts'
import { DeployedAddress, Deployer } from '../support/deployment.ts'
import { FakeCloudflare, type Fault } from '../support/fake-cloudflare.ts'
import { ROOT } from '../support/process.ts'

/** `npm run deploy` with the real wrangler, against a stand-in for Cloudflare's API. Needs no account and no Engine. */
const KEY = 'the-operators-own-key-0001'
const NAME = 'certyn-self-hosted-runners'
const MIGRATIONS = readdirSync(path.join(ROOT, 'migrations')).filter(name => name.endsWith('.sql'))

const STAGING = { id: 'fedcba9876543210fedcba9876543210', name: 'Acme Staging' }

const controlPlane = new ControlPlane()
beforeAll(() => controlPlane.start())
afterAll(() => controlPlane.stop())

let cloudflare: FakeCloudflare
let address: DeployedAddress
let deployer: Deployer

beforeEach(async () => {
  cloudflare = await FakeCloudflare.start()
  address = await DeployedAddress.of(cloudflare, controlPlane)
  deployer = new Deployer({
    CLOUDFLARE_API_BASE_URL: cloudflare.url,
    CLOUDFLARE_API_TOKEN: cloudflare.token,
    OPERATOR_KEY: KEY,
    Deploy__Address: address.url,
    Deploy__CheckSeconds: '60',
  })
})
afterEach(async () => {
  await address.stop()
  await cloudflare.stop()
})

function worker() {
  const found = cloudflare.workers.get(NAME)
  if (found === undefined) throw new Error('there is no Worker')
  return found
}

/** The migrations in the database's books, in the order in which they were applied. */
function applied(): unknown[] {
  const [database] = cloudflare.databases.values()
  const rows = database?.sqlite.prepare('SELECT name FROM d1_migrations ORDER BY id').all() ?? []
  return rows.map(row => row.name)
}

/** Bindings of the code that runs now, by name. */
function bindings(): Map<string, Record<string, unknown>> {
  const list = z.array(z.looseObject({ name: z.string() })).parse(worker().metadata.bindings)
  return new Map(list.map(binding => [binding.name, binding]))
}

const DEPLOYMENT_OF_A_KNOWN_WORKER = [
  `POST /workers/scripts/${NAME}/assets-upload-session`,
  `POST /workers/scripts/${NAME}/versions`,
  `POST /workers/scripts/${NAME}/deployments`,
  `PATCH /workers/scripts/${NAME}/script-settings`,
  `POST /workers/scripts/${NAME}/subdomain`,
  `PUT /workers/scripts/${NAME}/schedules`,
]

describe('a deployment', () => {
  test('makes each thing once and leaves no secret behind; the next ones make none again', async () => {
    writeFileSync(path.join(deployer.home, 'deploy.env'), 'Features:SelfHostedRunnersEnabled=true\n')
    const toml = readFileSync(path.join(ROOT, 'wrangler.toml'), 'utf8')
    const first = await deployer.run([])
    expect(first).toMatchObject({ code: 0 })
    const [databaseId] = cloudflare.databases.keys()
    expect([...cloudflare.databases.values()].map(({ name }) => name)).toEqual([NAME])
    expect([...cloudflare.buckets]).toEqual([NAME])
    expect(applied()).toEqual(MIGRATIONS)
    expect(bindings().get('DB')).toMatchObject({ type: 'd1', id: databaseId })
    expect(bindings().get('BLOBS')).toMatchObject({ type: 'r2_bucket', bucket_name: NAME })
    expect(bindings().get('Features__SelfHostedRunnersEnabled')).toMatchObject({ text: 'true' })
    expect(bindings().get('SelfHosted__LeaseTtlSeconds')).toMatchObject({ text: '45' })
    expect([...worker().secrets]).toEqual([['OPERATOR_KEY', KEY]])
    expect(first.output).toContain(`${address.url} answers as release ${VERSION}\n`)
    expect(first.output).toContain(`-e CONTROL_PLANE_URL=${address.url}`)
    expect(first.output).not.toContain('The feature is off')

    let before = cloudflare.calls.length
    const plan = await deployer.run(['--dry-run'])
    expect(plan.code).toBe(0)
    expect(plan.output).toContain('migrations  none to apply')
    expect(plan.output).toContain('OPERATOR_KEY would be stored unless it is the same')
    expect(cloudflare.changes(before)).toEqual([])

    before = cloudflare.calls.length
    expect(await deployer.run([])).toMatchObject({ code: 0 })
    expect(cloudflare.changes(before)).toEqual(DEPLOYMENT_OF_A_KNOWN_WORKER)
    expect(applied()).toEqual(MIGRATIONS)

    const other = 'another-operators-key-0002'
    expect(await deployer.run([], { OPERATOR_KEY: other })).toMatchObject({ code: 0 })
    expect([...worker().secrets]).toEqual([['OPERATOR_KEY', other]])

    const without = await deployer.run([], { OPERATOR_KEY: undefined })
    expect(without.code).toBe(0)
    expect(without.output).toContain('the database was not asked, because OPERATOR_KEY is not set here')
    expect([...worker().secrets]).toEqual([['OPERATOR_KEY', other]])

    expect(readFileSync(deployer.recordedArguments, 'utf8')).toContain('"secret","bulk"')
    for (const secret of [KEY, other, cloudflare.token]) {
      expect(`${first.output}${deployer.traces()}`).not.toContain(secret)
    }
    expect(readFileSync(path.join(ROOT, 'wrangler.toml'), 'utf8')).toBe(toml)
  })

  test('that failed at any step goes on there, with nothing made twice', async () => {
    const third = new RegExp(`values \\('${MIGRATIONS[2]}'\\)`)
    const faults: [Omit<Fault, 'status' | 'code' | 'message'>, string][] = [
      [{ method: 'POST', path: /\/d1\/database$/ }, `could not create the D1 database ${NAME}`],
      [{ method: 'POST', path: /\/r2\/buckets$/ }, `could not create the R2 bucket ${NAME}`],
      [{ method: 'POST', path: /\/query$/, body: third }, 'could not apply the migrations'],
      [{ method: 'PUT', path: /\/workers\/scripts\/[^/]+$/ }, 'could not deploy the Worker'],
      [{ method: 'PATCH', path: /\/secrets-bulk$/ }, 'could not store OPERATOR_KEY'],
    ]
    for (const [fault, line] of faults) {
      cloudflare.faults = [{ ...fault, status: 400, code: 10_999, message: 'Not today' }]
      const { code, output } = await deployer.run([])
      expect(output).toContain(line)
      expect(output).toMatch(/Not today \[code: 10999\][\s\S]*What to do: /)
      expect(code).toBe(1)
      expect(cloudflare.faults).toEqual([])
    }
    expect(worker().secrets.size).toBe(0)
    expect(await deployer.run([])).toMatchObject({ code: 0 })
    expect(applied()).toEqual(MIGRATIONS)
    const made = cloudflare.changes().filter(call => /^POST \/(?:d1\/database|r2\/buckets)$/.test(call))
    // Once refused and once made.
    expect(made.toSorted()).toEqual([
      'POST /d1/database',
      'POST /d1/database',
      'POST /r2/buckets',
      'POST /r2/buckets',
    ])
    expect([...worker().secrets]).toEqual([['OPERATOR_KEY', KEY]])
  })
})

describe('the operator’s key', () => {
  test('is generated where there is none anywhere, shown once, and waited for', async () => {
    let refusals = 2
    address.instead = ({ url }, outgoing) => {
      if (!url?.startsWith('/api/') || refusals === 0) return false
      refusals -= 1
      json(outgoing, 401, { code: 'unauthenticated', detail: 'the secret is not here yet' })
      return true
    }
    const { code, output } = await deployer.run([], { OPERATOR_KEY: undefined, CI: undefined })
    expect(code).toBe(0)
    const [key = ''] = worker().secrets.values()
    expect(key).toHaveLength(32)
    expect(output.split(key)).toHaveLength(2)
    expect(output).toContain(`OPERATOR_KEY=${key}\n`)
    expect(deployer.traces()).not.toContain(key)
    expect(refusals).toBe(0)
  })

  test('is asked for before anything is touched where what is written is kept', async () => {
    const { code, output } = await deployer.run([], { OPERATOR_KEY: undefined, CI: 'true' })
    expect(code).toBe(1)
    expect(output).toContain(
      'What to do: set OPERATOR_KEY to 16 characters or more, from the secrets of your CI',
    )
    expect(cloudflare.changes()).toEqual([])
  })
})

describe('a dry run', () => {
  test('says what it would do to an empty account, and does nothing', async () => {
    const { code, output } = await deployer.run(['--dry-run'])
    expect(code).toBe(0)
    expect(output).toContain(`database    ${NAME} would be created`)
    expect(output).toContain(`bucket      ${NAME} would be created`)
    expect(output).toContain(`would apply ${MIGRATIONS.join(', ')}`)
    expect(cloudflare.changes()).toEqual([])
  })

  test('needs no account', async () => {
    const { code, output } = await deployer.run(['--dry-run'], { CLOUDFLARE_API_TOKEN: undefined })
    expect(output).toContain('nobody is signed in')
    expect(code).toBe(0)
    expect(cloudflare.calls).toEqual([])
  })
})

describe('before anything is touched', () => {
  test('wrong settings are refused by name, from the file and from the environment', async () => {
    writeFileSync(
      path.join(deployer.home, 'staging.env'),
      'SelfHosted__LeaseTtlSeconds=soon\nSelfHosted__LeaseTtl=45\nOPERATOR_KEY=key-from-the-settings-file\n',
    )
    const { code, output } = await deployer.run(['--settings', 'staging.env'], { OPERATOR_KEY: 'too-short' })
    expect(code).toBe(2)
    expect(output).toContain('SelfHosted__LeaseTtlSeconds: expected whole seconds from 5 to 3600')
    expect(output).toContain('SelfHosted__LeaseTtl: is not a setting of this version')
    expect(output).toContain('OPERATOR_KEY: a secret is not read from staging.env')
    expect(output).toContain('OPERATOR_KEY: expected at least 16 characters')
    expect(output).not.toMatch(/too-short|key-from-the-settings-file/)
    expect(cloudflare.calls).toEqual([])
  })

  test('somebody has to be signed in, with a token that is good', async () => {
    const nobody = await deployer.run([], { CLOUDFLARE_API_TOKEN: undefined })
    expect(nobody).toMatchObject({
      code: 1,
      output: expect.stringContaining('run `npx wrangler login`, or set'),
    })
    const wrong = await deployer.run([], { CLOUDFLARE_API_TOKEN: 'token-that-is-not-known-to-anyone-0000' })
    expect(wrong.code).toBe(1)
    expect(wrong.output).toContain('What to do: ')
    expect(wrong.output).not.toContain('token-that-is-not-known')
    expect(cloudflare.changes()).toEqual([])
  })

  test('one of several accounts has to be named', async () => {
    cloudflare.accounts = [...cloudflare.accounts, STAGING]
    const unsaid = await deployer.run([])
    expect(unsaid.code).toBe(1)
    expect(unsaid.output).toContain(
      `set CLOUDFLARE_ACCOUNT_ID, in the environment or in deploy.env, to one of`,
    )
    expect(unsaid.output).toContain(`${STAGING.id}  ${STAGING.name}`)
    expect(cloudflare.changes()).toEqual([])
  })
})

describe('the check of the address', () => {
  test('says what is wrong with the account’s Worker and what to do, and fails the command', async () => {
    cloudflare.accounts = [...cloudflare.accounts, STAGING]
    address.instead = ({ url }, outgoing) => {
      if (url === '/healthz') json(outgoing, 200, { status: 'ok', version: '0.0.9' })
      else if (url === '/') outgoing.writeHead(302, { location: 'https://acme.cloudflareaccess.com/x' }).end()
      else if (url?.startsWith('/api/')) json(outgoing, 503, { code: 'overloaded', detail: 'no database' })
      else return false
      return true
    }
    const { code, output } = await deployer.run([], {
      CLOUDFLARE_ACCOUNT_ID: STAGING.id,
      Deploy__CheckSeconds: '2',
    })
    expect(code).toBe(1)
    expect(output).toContain(`release 0.0.9 answers, not ${VERSION}`)
    expect(output).toContain('Cloudflare Access asks for a sign-in')
    expect(output).toContain('503 overloaded: no database')
    expect(output).not.toContain('/openapi.json:')
    expect(output).toContain(`npx wrangler rollback --name ${NAME}`)
    expect(output).not.toContain('What to do next')
    const changed = cloudflare.calls.filter(call => call.method !== 'GET' && call.path !== '/graphql')
    expect(changed.filter(call => !call.path.startsWith(`/accounts/${STAGING.id}/`))).toEqual([])
  })
})

function json(
  outgoing: Parameters<NonNullable<DeployedAddress['instead']>>[1],
  status: number,
  body: object,
): void {
  outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
