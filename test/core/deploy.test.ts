import { describe, expect, test } from 'vitest'
import { chooseAccount } from '../../scripts/deploy/account.ts'
import { deployedConfig, NO_DATABASE, readBaseConfig, secretNamesOf } from '../../scripts/deploy/config.ts'
import { compareMigrations } from '../../scripts/deploy/migrations.ts'
import { type DeployOptions, parseDeployOptions } from '../../scripts/deploy/options.ts'
import { chooseOperatorKey } from '../../scripts/deploy/secrets.ts'
import { ROOT } from '../support/process.ts'

const base = readBaseConfig(ROOT)

interface Given {
  readonly args?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly file?: string
}

function parse({ args = [], environment = {}, file }: Given) {
  return parseDeployOptions({
    args,
    environment,
    readFile: () => file ?? null,
    secretNames: secretNamesOf(base),
  })
}

function options(given: Given): DeployOptions {
  const parsed = parse(given)
  if (!parsed.ok) throw new Error(parsed.problems.join('; '))
  return parsed.options
}

function problems(given: Given): readonly string[] {
  const parsed = parse(given)
  return parsed.ok ? [] : parsed.problems
}

describe('the settings of a deployment', () => {
  test('come from the file and from the environment, which wins, under either spelling', () => {
    const file =
      '# staging\nSelfHosted:LeaseTtlSeconds=60\nDocker__DefaultImage=acme/agent:v1\nDeploy__Name=staging\n'
    const environment = {
      'SelfHosted:LeaseTtlSeconds': '90',
      OPERATOR_KEY: 'sixteen-characters',
      PATH: '/bin',
    }
    expect(options({ file, environment, args: ['--dry-run'] })).toMatchObject({
      dryRun: true,
      vars: { SelfHosted__LeaseTtlSeconds: '90', Docker__DefaultImage: 'acme/agent:v1' },
      secrets: { OPERATOR_KEY: 'sixteen-characters' },
      target: { Deploy__Name: 'staging' },
    })
  })

  test.each<[Given, RegExp]>([
    [{ args: ['--dryrun'] }, /Unknown option '--dryrun'/],
    [{ args: ['--settings', 'none.env'] }, /^--settings: there is no file none\.env$/],
    [{ file: 'LOG_LEVEL=debug' }, /^LOG_LEVEL: is not a setting/],
    [{ file: 'CLOUDFLARE_API_TOKEN=abc' }, /^CLOUDFLARE_API_TOKEN: a secret is not read from deploy\.env/],
    [{ file: 'OPERATOR_KEY=sixteen-characters' }, /^OPERATOR_KEY: a secret is not read from deploy\.env/],
    [
      { environment: { 'Features:SelfHostedRunners': 'true' } },
      /^Features:SelfHostedRunners: is not a setting/,
    ],
    [{ environment: { OPERATOR_KEY: 'fifteen-charact' } }, /^OPERATOR_KEY: expected at least 16 characters$/],
    [
      { environment: { Access__Audience: 'aud' } },
      /^Access__TeamDomain: expected, because Access__Audience is set$/,
    ],
    [{ environment: { Deploy__Name: 'Staging' } }, /^Deploy__Name: expected 3 to 63 characters/],
    [{ environment: { Deploy__Domain: 'https://acme.example' } }, /^Deploy__Domain: expected a host name/],
    [
      { environment: { Deploy__Address: 'http://acme.example' } },
      /^Deploy__Address: expected an https:\/\/ address/,
    ],
    [{ environment: { Deploy__Address: 'https://acme.example/x' } }, /^Deploy__Address: expected/],
    [{ environment: { Deploy__Location: 'moon' } }, /^Deploy__Location: expected weur, /],
    [{ environment: { Deploy__CheckSeconds: '0' } }, /^Deploy__CheckSeconds: expected whole seconds/],
    [{ environment: { CLOUDFLARE_ACCOUNT_ID: 'Acme' } }, /^CLOUDFLARE_ACCOUNT_ID: expected the 32/],
  ])('%o is refused', (given, line) => {
    expect(problems(given)).toEqual([expect.stringMatching(line)])
  })
})

test('a settings file that cannot be read is not passed over', () => {
  const readFile = () => {
    throw new Error('EACCES: permission denied')
  }
  const parsed = parseDeployOptions({ args: [], environment: {}, readFile, secretNames: [] })
  expect(parsed).toEqual({ ok: false, problems: ['deploy.env cannot be read: EACCES: permission denied'] })
})

describe('the generated configuration', () => {
  test('is wrangler.toml with the account’s ids and the operator’s settings, and no secret', () => {
    const environment = { Features__SelfHostedRelayEnabled: 'true', OPERATOR_KEY: 'sixteen-characters' }
    const config = deployedConfig(base, options({ environment }), 'the-id')
    expect(config).toMatchObject({
      name: base.name,
      main: '../../../worker/index.ts',
      workers_dev: true,
      vars: { ...base.vars, Features__SelfHostedRelayEnabled: 'true' },
      assets: { ...base.assets, directory: 'dashboard' },
      d1_databases: [{ binding: 'DB', database_id: 'the-id', migrations_dir: '../../../migrations' }],
      r2_buckets: [{ binding: 'BLOBS', bucket_name: base.name }],
      migrations: base.migrations,
    })
    expect(config).not.toHaveProperty('build')
    expect(JSON.stringify(config)).not.toContain('sixteen-characters')
  })

  test('leaves no way around a domain of its own', () => {
    const environment = { Deploy__Name: 'staging', Deploy__Domain: 'runners.acme.example' }
    expect(deployedConfig(base, options({ environment }), NO_DATABASE)).toMatchObject({
      name: 'staging',
      workers_dev: false,
      preview_urls: false,
      routes: [{ pattern: 'runners.acme.example', custom_domain: true }],
      d1_databases: [{ database_name: 'staging' }],
      r2_buckets: [{ bucket_name: 'staging' }],
    })
  })
})

describe('the account', () => {
  const one = { id: '1'.repeat(32), name: 'One' }
  const two = { id: '2'.repeat(32), name: 'Two' }

  test.each([
    [[one], undefined, one],
    [[one, two], two.id, two],
    // A token may be too narrow to list any.
    [[], two.id, { id: two.id, name: 'as given' }],
  ])('%#: is the only one, or the one named', (accounts, wanted, expected) => {
    expect(chooseAccount(accounts, wanted)).toEqual(expected)
  })

  test.each([
    [[one, two], undefined, /has 2 accounts/],
    [[], undefined, /names no account/],
    [[one], two.id, /has no such account/],
  ])('%#: is never guessed', (accounts, wanted, message) => {
    expect(() => chooseAccount(accounts, wanted)).toThrow(message)
  })
})

test('migrations that only a later release knows are told from those to apply', () => {
  expect(compareMigrations(['0001_b.sql', '0000_a.sql', '0002_c.sql'], ['0000_a.sql', '0003_d.sql'])).toEqual(
    {
      pending: ['0001_b.sql', '0002_c.sql'],
      unknown: ['0003_d.sql'],
    },
  )
})

test('an operator’s key is made only where there is none, and nobody keeps what is written', () => {
  const random = () => 'random'
  expect(chooseOperatorKey('given', ['OPERATOR_KEY'], true, random)).toEqual({
    from: 'environment',
    key: 'given',
  })
  expect(chooseOperatorKey(undefined, ['OPERATOR_KEY'], true, random)).toEqual({ from: 'stored' })
  expect(chooseOperatorKey(undefined, [], false, random)).toEqual({ from: 'generated', key: 'random' })
  expect(() => chooseOperatorKey(undefined, [], true, random)).toThrow(/^OPERATOR_KEY: expected/)
})
