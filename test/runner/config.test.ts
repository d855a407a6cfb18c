import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { afterAll, describe, expect, test } from 'vitest'
import { readConfig, readRegistrationToken, SETTING_NAMES } from '../../runner/config.ts'
import { type Policy, readPolicy, refusalOf } from '../../runner/policy.ts'
import { unknownSettings } from '../../runner/unknown-settings.ts'
import { aJob } from './support/factories.ts'
import { RunnerProcess, removeDirectory, temporaryDirectory, until } from './support/runner-process.ts'

const directory = temporaryDirectory()
afterAll(() => removeDirectory(directory))

const GOOD = {
  CONTROL_PLANE_URL: 'https://certyn.example.com',
  RUNNER_POOL_ID: 'pol_01jd0000000000000000000000',
  REGISTRATION_TOKEN: 'cty_reg_canary',
}

test('the product page’s command is all that is needed', () => {
  const config = readConfig({ ...GOOD, RUNNER_NAME: 'runner-east-1', MAX_CONCURRENCY: '2' })
  expect(config).toMatchObject({
    RUNNER_NAME: 'runner-east-1',
    MAX_CONCURRENCY: 2,
    RUNNER_STATE_DIR: '/var/lib/certyn-runner',
    RUNNER_EXECUTOR: 'docker',
    RUNNER_PULL_POLICY: 'if_not_present',
    RUNNER_STOP_GRACE_SECONDS: 10,
    RUNNER_LOG_CAP_MB: 256,
    DOCKER_HOST: '/var/run/docker.sock',
    LOG_LEVEL: 'info',
  })
  expect(Object.isFrozen(config)).toBe(true)
})

test('one slot and this host’s name are the defaults, and an empty variable is none', () => {
  const config = readConfig({ ...GOOD, MAX_CONCURRENCY: '', RUNNER_NAME: ' ' })
  expect(config.MAX_CONCURRENCY).toBe(1)
  expect(config.RUNNER_NAME).not.toBe('')
})

test('labels are k=v pairs, with spaces forgiven', () => {
  expect(readConfig({ ...GOOD, RUNNER_LABELS: ' zone=east, disk = fast ,' }).RUNNER_LABELS).toEqual({
    zone: 'east',
    disk: 'fast',
  })
})

test.each([
  ['http://localhost:8787', {}],
  ['http://127.0.0.1:8787', {}],
  ['http://[::1]:8787', {}],
  ['http://certyn.internal', { RUNNER_ALLOW_HTTP: '1' }],
  ['https://certyn.example.com/prefix', {}],
  ['https://certyn.example.com/prefix/', {}],
])('%s is a good address', (url, more) => {
  expect(readConfig({ ...GOOD, CONTROL_PLANE_URL: url, ...more }).CONTROL_PLANE_URL).toBeInstanceOf(URL)
})

test.each([
  ['CONTROL_PLANE_URL', undefined, /is required/],
  ['CONTROL_PLANE_URL', 'certyn.example.com', /expected an address/],
  ['CONTROL_PLANE_URL', 'ftp://certyn.example.com', /expected an address/],
  ['CONTROL_PLANE_URL', 'http://certyn.example.com', /expected https/],
  ['CONTROL_PLANE_URL', 'http://localhost.evil.example', /expected https/],
  [
    'CONTROL_PLANE_URL',
    'https://u:canary@certyn.example.com',
    /must not hold a user name.*; expected an address/,
  ],
  ['CONTROL_PLANE_URL', 'https://canary@certyn.example.com', /must not hold a user name/],
  [
    'CONTROL_PLANE_URL',
    'https://certyn.example.com/?a=canary',
    /must not hold a query.*; expected an address/,
  ],
  ['CONTROL_PLANE_URL', 'https://certyn.example.com/?', /must not hold a query/],
  ['CONTROL_PLANE_URL', 'https://certyn.example.com/#/pools', /must not hold a .*fragment/],
  ['RUNNER_POOL_ID', undefined, /is required/],
  ['RUNNER_POOL_ID', 'run_01jd0000000000000000000000', /starts with pol_/],
  ['RUNNER_NAME', 'a\u0007b', /control characters/],
  ['MAX_CONCURRENCY', '0', /whole number of sessions from 1 to 256/],
  ['MAX_CONCURRENCY', '257', /whole number/],
  ['MAX_CONCURRENCY', '2.5', /whole number/],
  ['MAX_CONCURRENCY', 'two', /whole number/],
  ['RUNNER_STATE_DIR', 'relative/path', /absolute path/],
  ['RUNNER_STATE_DIR', '/', /a folder of its own/],
  ['RUNNER_STATE_DIR', '/var/lib/runner/..', /a folder of its own/],
  ['RUNNER_STATE_DIR', '/tmp/', /a folder of its own/],
  ['RUNNER_LABELS', 'zone', /expected k=v/],
  ['RUNNER_LABELS', 'zone=east,disk=fast,zone=west', /zone is given twice/],
  ['RUNNER_EXECUTOR', 'podman', /docker or host/],
  ['RUNNER_PULL_POLICY', 'sometimes', /always, if_not_present or never/],
  ['RUNNER_JOB_HTTPS_PROXY', 'proxy:3128', /http:\/\/host:port/],
  ['RUNNER_JOB_CA_FILE', '/no/such/file.pem', /readable PEM .*ENOENT/],
  ['RUNNER_JOB_CA_FILE', directory, /readable PEM .*EISDIR/],
  ['RUNNER_JOB_CA_FILE', import.meta.filename, /readable PEM file with a certificate/],
  ['NODE_EXTRA_CA_CERTS', '/no/such/file.pem', /readable PEM .*ENOENT/],
  ['RUNNER_STOP_GRACE_SECONDS', '-1', /whole number of seconds/],
  ['RUNNER_MIN_DISK_MB', 'lots', /whole number of MB/],
  ['RUNNER_LOG_CAP_MB', '0', /whole number of MB/],
  ['RUNNER_ALLOW_HTTP', 'yes', /0 or 1/],
  ['DOCKER_HOST', 'tcp://10.0.0.1:2375', /local unix socket/],
  ['HTTPS_PROXY', 'socks5://proxy:1080', /http:\/\/host:port/],
  ['LOG_LEVEL', 'loud', /one of trace/],
])('%s=%s is refused by name', (name, value, expected) => {
  const read = () => readConfig({ ...GOOD, [name]: value })
  expect(read).toThrow(expected)
  expect(read).toThrow(new RegExp(`^${name}: `, 'm'))
  expect(read).not.toThrow(/canary/)
})

test('the process stops at once, with every wrong variable named and no secret', async () => {
  const runner = new RunnerProcess({ ...GOOD, MAX_CONCURRENCY: 'x', LOG_LEVEL: 'loud' })
  expect(await runner.ended()).toBe(1)
  expect(runner.stderr).toMatch(/MAX_CONCURRENCY: .*\n.*LOG_LEVEL: /)
  expect(runner.stderr).not.toContain('canary')
})

describe('variables that are no settings', () => {
  const known = (names: readonly string[]) => {
    const env = Object.fromEntries(names.map(name => [name, 'canary']))
    return unknownSettings(env, SETTING_NAMES)
  }

  test.each([
    ['RUNNER_LABEL', 'RUNNER_LABELS'],
    ['RUNNER_EXECUTER', 'RUNNER_EXECUTOR'],
    ['RUNNER_PULLPOLICY', 'RUNNER_PULL_POLICY'],
    ['RUNNER_POOL', 'RUNNER_POOL_ID'],
    ['RUNNER_DISK_MB', 'RUNNER_MIN_DISK_MB'],
    ['RUNNER_STATE_DIRECTORY', 'RUNNER_STATE_DIR'],
    ['RUNNER_TOKEN', 'REGISTRATION_TOKEN'],
    ['RUNNER_CONCURRENCY', 'MAX_CONCURRENCY'],
    ['RUNNER_MAX_CONCURRENCY', 'MAX_CONCURRENCY'],
    ['RUNNER_CONTROL_PLANE_URL', 'CONTROL_PLANE_URL'],
    ['RUNNER_LOG_LEVEL', 'LOG_LEVEL'],
  ])('%s is near %s', (name, nearest) => {
    expect(known([name])).toEqual([{ name, nearest }])
  })

  test('what Kubernetes and Docker say of a neighbour called runner is none of our business', () => {
    const links = ['RUNNER_PORT', 'RUNNER_SERVICE_HOST', 'RUNNER_SERVICE_PORT', 'RUNNER_SERVICE_PORT_HTTPS']
      .concat(['RUNNER_PORT_443_TCP', 'RUNNER_PORT_443_TCP_ADDR', 'RUNNER_PORT_53_UDP_PROTO'])
      .concat(['RUNNER_EAST_SERVICE_HOST', 'RUNNER_EAST_PORT_443_TCP_PORT', 'RUNNER_ENV_PATH'])
    expect(known(links)).toEqual([])
  })

  test('neither are settings, variables of others, and empty ones', () => {
    expect(known([...SETTING_NAMES, 'MAX_CONCURENCY', 'MY_RUNNER_LABEL'])).toEqual([])
    expect(unknownSettings({ RUNNER_LABEL: ' ', RUNNER_TAG: undefined }, SETTING_NAMES)).toEqual([])
  })

  test('the daemon warns of each once, without its value, and goes on', async () => {
    const runner = new RunnerProcess({
      ...GOOD,
      CONTROL_PLANE_URL: 'http://127.0.0.1:1',
      RUNNER_EXECUTOR: 'host',
      RUNNER_STATE_DIR: join(directory, 'state'),
      RUNNER_LABEL: 'canary',
    })
    await until('it tries to register', () => runner.logged('registration failed'))
    const lines = runner.log.filter(line => line.name === 'RUNNER_LABEL')
    const msg = expect.stringMatching(/no such setting/)
    expect(lines).toMatchObject([{ level: 'warn', nearest: 'RUNNER_LABELS', msg }])
    expect(JSON.stringify(lines)).not.toContain('canary')
    await runner.destroy()
  })
})

test('a registration token file that cannot be read is named with the cause', () => {
  const config = readConfig({ ...GOOD, REGISTRATION_TOKEN: '', REGISTRATION_TOKEN_FILE: '/no/such/token' })
  expect(() => readRegistrationToken(config)).toThrow(/^REGISTRATION_TOKEN_FILE: .*ENOENT/)
})

test('a certificate is taken for RUNNER_JOB_CA_FILE', () => {
  const file = join(directory, 'ca.pem')
  writeFileSync(file, rootCertificates[0] ?? '')
  expect(readConfig({ ...GOOD, RUNNER_JOB_CA_FILE: file }).RUNNER_JOB_CA_FILE).toBe(file)
})

describe('the policy file', () => {
  function policyOf(content: string): Policy {
    const file = join(directory, 'policy.json')
    writeFileSync(file, content)
    return readPolicy(file)
  }

  test('without one everything the API accepts is allowed', () => {
    expect(refusalOf(readPolicy(null), aJob({ image: 'anything' }))).toBeNull()
  })

  test.each([
    ['not json', /valid JSON/],
    ['{"allowed_image": ["x"]}', /allowed_image/],
    ['{"allowed_images": []}', /allowed_images/],
    ['{"max_cpus": "2"}', /max_cpus/],
    ['{"network": "host"}', /network/],
    ['{"network": "container:abc"}', /network/],
  ])('%s stops the runner', (content, expected) => {
    expect(() => policyOf(content)).toThrow(expected)
    expect(() => policyOf(content)).toThrow(/^RUNNER_POLICY_FILE: /)
  })

  test('one that cannot be read is named with the cause', () => {
    expect(() => readPolicy('/no/such/policy')).toThrow(/^RUNNER_POLICY_FILE: \/no\/such\/policy.*ENOENT/)
  })

  test.each([
    [{ allowed_images: ['a/b:1'] }, { image: 'a/b:1' }, null],
    [{ allowed_images: ['a/b:1'] }, { image: 'a/b:2' }, /allowed_images/],
    [{ allowed_images: ['a/*'] }, { image: 'a/b:2' }, null],
    [{ allowed_images: ['a/*'] }, { image: 'ab:2' }, /allowed_images/],
    [{ require_digest: true }, { image: 'a:1' }, /require_digest/],
    [{ require_digest: true }, { image: `a@sha256:${'0'.repeat(64)}` }, null],
    [{ max_memory_mb: 512 }, { resources: { memory_mb: 513 } }, /max_memory_mb/],
    [{ max_memory_mb: 512 }, { resources: { memory_mb: 512 } }, null],
    [{ max_cpus: 1 }, { resources: { cpus: 1.5 } }, /max_cpus/],
    [{ max_timeout_seconds: 60 }, { timeout_seconds: 61 }, /max_timeout_seconds/],
  ])('%j decides over %j', (policy, job, expected) => {
    const refusal = refusalOf(policyOf(JSON.stringify(policy)), aJob(job))
    if (expected === null) expect(refusal).toBeNull()
    else expect(refusal).toMatch(expected)
  })
})
