import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type Docker from 'dockerode'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { agentReleaseOf } from '../../runner/executors/docker/agent-release.ts'
import { classifyExit, classifyFailure } from '../../runner/executors/docker/classify-failure.ts'
import { sessionOf } from '../../runner/executors/docker/containers.ts'
import { withTag } from '../../runner/executors/docker/images.ts'
import { translate } from '../../runner/executors/docker/own-container.ts'
import {
  readRegistryAuth,
  registryOfImage,
  renewedRegistryAuth,
} from '../../runner/executors/docker/registry-auth.ts'
import { LABELS, userOf } from '../../runner/executors/docker/template.ts'
import { deviations } from '../../runner/executors/docker/verify.ts'
import { sessionId } from './support/factories.ts'
import { removeDirectory, temporaryDirectory } from './support/runner-process.ts'

const directory = temporaryDirectory()
afterAll(() => removeDirectory(directory))

describe('why a session could not be brought to run', () => {
  test.each([
    ['pull', 'manifest for agent:9 not found: manifest unknown: manifest unknown', 'image_not_found'],
    [
      'pull',
      "pull access denied for agent, repository does not exist or may require 'docker login': denied",
      'image_not_found',
    ],
    ['pull', 'no matching manifest for linux/arm64/v8 in the manifest list entries', 'image_not_found'],
    ['pull', 'Head "https://r.example/v2/a/manifests/1": no basic auth credentials', 'image_auth'],
    ['pull', 'unauthorized: authentication required', 'image_auth'],
    ['pull', 'denied: requested access to the resource is denied', 'image_auth'],
    ['pull', 'Get "https://r.example/v2/": dial tcp: lookup r.example: no such host', 'network_unreachable'],
    ['pull', 'dial tcp 10.0.0.1:443: connect: connection refused', 'network_unreachable'],
    ['pull', 'dial tcp 10.0.0.1:443: i/o timeout', 'network_unreachable'],
    ['pull', 'x509: certificate signed by unknown authority', 'network_unreachable'],
    ['pull', 'toomanyrequests: You have reached your pull rate limit', 'pull_failed'],
    ['pull', 'received unexpected HTTP status: 503 Service Unavailable', 'pull_failed'],
    ['pull', 'failed to register layer: write /x: no space left on device', 'disk_full'],
    ['create', 'No such image: agent:1', 'image_not_found'],
    ['create', 'mkdir /var/lib/docker/overlay2/x: no space left on device', 'disk_full'],
    ['create', 'invalid mount config for type "bind": bind source path does not exist', 'engine_error'],
    [
      'start',
      'OCI runtime create failed: exec: "nope": executable file not found in $PATH: unknown',
      'command_not_found',
    ],
    [
      'start',
      'OCI runtime create failed: exec: "/nope": stat /nope: no such file or directory: unknown',
      'command_not_found',
    ],
    ['start', 'could not find an available, non-overlapping IPv4 address pool', 'network_unreachable'],
    ['start', 'OCI runtime create failed: something else', 'engine_error'],
  ] as const)('%s: %s is %s', (step, message, reason) => {
    expect(classifyFailure(step, message)).toMatchObject({ reason, message })
  })

  test('a missing command has the exit code that shells give it', () => {
    expect(classifyFailure('start', 'executable file not found').code).toBe(127)
  })
})

test.each([
  [0, false, 'exited', false],
  [1, false, 'exited', false],
  [127, false, 'command_not_found', false],
  [137, true, 'oom', true],
  [1, true, 'oom', true],
  [137, false, 'exited', false],
  [0, true, 'exited', true],
] as const)('exit code %i with OOMKilled %s is %s', (code, oomKilled, reason, memoryPressure) => {
  expect(classifyExit(code, oomKilled, '')).toMatchObject({ exit: { code, reason }, memoryPressure })
})

test.each([
  ['agent', 'agent:latest'],
  ['registry.example:5000/team/agent', 'registry.example:5000/team/agent:latest'],
  ['registry.example:5000/team/agent:v1', 'registry.example:5000/team/agent:v1'],
  ['agent@sha256:abc', 'agent@sha256:abc'],
])('%s is pulled as %s', (reference, expected) => {
  expect(withTag(reference)).toBe(expected)
})

test.each([
  ['', '1000:1000'],
  ['root', '1000:1000'],
  ['0', '1000:1000'],
  ['0:1000', '1000:1000'],
  ['00', '1000:1000'],
  ['chrome', '1000:1000'],
  ['1001', '1001'],
  ['1001:1002', '1001:1002'],
  ['1001:staff', '1000:1000'],
])('an image with user "%s" runs as %s', (user, expected) => {
  expect(userOf(user, null)).toBe(expected)
})

describe('the release of an agent image', () => {
  const title = 'Certyn agent'
  const labels = (version: string, of = title) => ({
    'org.opencontainers.image.title': of,
    'org.opencontainers.image.version': version,
  })

  test.each([
    ['docker.io/certyn/agent:v1.2.3', {}, '1.2.3'],
    ['certyn/agent:v1.2.3-rc.1', {}, '1.2.3-rc.1'],
    ['registry.example:5000/mirror/certyn/agent:1.2.3', {}, '1.2.3'],
    [`certyn/agent:v1.2.3@sha256:${'0'.repeat(64)}`, {}, '1.2.3'],
    ['acme/browser:nightly', labels('1.2.3'), '1.2.3'],
    ['certyn/agent:v1.2.3', labels('2.0.0'), '2.0.0'],
    ['certyn/agent:latest', {}, null],
    ['certyn/agent:sha-0123abc', {}, null],
    ['certyn/agent', {}, null],
    ['certyn/agents:v1.2.3', {}, null],
    ['notcertyn/agent:v1.2.3', {}, null],
    ['acme/agent:v1.2.3', {}, null],
    ['docker.io/library/ubuntu:24.04', labels('24.04.1', 'ubuntu'), null],
    ['acme/browser:nightly', labels(`1.2.3-${'9'.repeat(64)}`), null],
    ['acme/browser:nightly', labels('today'), null],
  ])('%s with %j is %s', (reference, given, release) => {
    expect(agentReleaseOf(reference, given)).toBe(release)
  })
})

test('a runner that is not root runs jobs as itself', () => {
  expect(userOf('1001', { uid: 500, gid: 600 })).toBe('500:600')
})

describe('which containers are ours', () => {
  const labels = { [LABELS.installation]: 'i', [LABELS.session]: sessionId('a') }
  test('label, installation and name together', () => {
    expect(sessionOf({ names: [`/certyn-${sessionId('a')}`], labels }, 'i')).toBe(sessionId('a'))
  })
  test.each([
    ['another installation', [`/certyn-${sessionId('a')}`], labels, 'j'],
    ['another name', ['/certyn-x'], labels, 'i'],
    ['another session’s name', [`/certyn-${sessionId('b')}`], labels, 'i'],
    ['no session label', [`/certyn-${sessionId('a')}`], { [LABELS.installation]: 'i' }, 'i'],
    ['no labels', [`/certyn-${sessionId('a')}`], {}, 'i'],
  ])('not with %s', (_, names, its, installation) => {
    expect(sessionOf({ names, labels: its as Record<string, string> }, installation)).toBeNull()
  })
})

describe('the state directory as the Engine’s host knows it', () => {
  const mounts = [
    { Destination: '/var/lib/certyn-runner', Source: '/srv/runner' },
    { Destination: '/var', Source: '/srv/var' },
  ]
  test.each([
    ['/var/lib/certyn-runner', '/srv/runner'],
    ['/var/lib/certyn-runner/deep', '/srv/runner/deep'],
    ['/var/other', '/srv/var/other'],
    ['/var/lib/certyn-runner2', '/srv/var/lib/certyn-runner2'],
    ['/opt/state', null],
  ])('%s is %s', (path, expected) => {
    expect(translate(mounts, path)).toBe(expected)
  })
})

describe('registry credentials', () => {
  function authFrom(content: unknown) {
    const file = join(directory, 'config.json')
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
    return readRegistryAuth(file)
  }
  const auth = Buffer.from('robot:pa:ss').toString('base64')

  test.each([
    ['agent', 'docker.io'],
    ['team/agent', 'docker.io'],
    ['localhost/agent', 'localhost'],
    ['registry.example/agent', 'registry.example'],
    ['registry:5000/agent', 'registry:5000'],
  ])('%s comes from %s', (image, registry) => {
    expect(registryOfImage(image)).toBe(registry)
  })

  test('go to their registry and to no other', () => {
    const find = authFrom({
      auths: { 'https://index.docker.io/v1/': { auth }, 'r.example': { identitytoken: 't' } },
    })
    expect(find('team/agent')).toMatchObject({ username: 'robot', password: 'pa:ss' })
    expect(find('r.example/agent')).toMatchObject({ identitytoken: 't' })
    expect(find('other.example/agent')).toBeUndefined()
  })

  test('are read anew for each pull, and stay as they were while the file is of no use', () => {
    const file = join(directory, 'renewed.json')
    const write = (identitytoken: string) =>
      writeFileSync(file, JSON.stringify({ auths: { 'r.example': { identitytoken } } }))
    write('one')
    const warn = vi.fn()
    const find = renewedRegistryAuth(file, { warn })
    const token = () => find('r.example/agent')?.identitytoken
    expect(token()).toBe('one')
    write('two')
    expect(token()).toBe('two')
    writeFileSync(file, '{"auths"')
    expect(token()).toBe('two')
    expect(warn.mock.calls).toMatchObject([
      [{ error: expect.stringMatching(/^RUNNER_REGISTRY_AUTH_FILE: /) }, expect.any(String)],
    ])
    write('three')
    expect(token()).toBe('three')
  })

  test('that cannot be read are refused with the cause', () => {
    expect(() => readRegistryAuth('/no/such/file')).toThrow(
      /^RUNNER_REGISTRY_AUTH_FILE: .*cannot be read: ENOENT/,
    )
  })

  test.each([
    ['{', /form of Docker's config.json/],
    [{ credsStore: 'desktop' }, /credential helpers/],
    [{ auths: { 'r.example': {} } }, /r\.example has neither/],
  ])('%j is refused by the setting’s name', (content, expected) => {
    expect(() => authFrom(content)).toThrow(expected)
    expect(() => authFrom(content)).toThrow(/^RUNNER_REGISTRY_AUTH_FILE: /)
  })
})

describe('what the Engine made against what was asked', () => {
  const asked = {
    User: '1000:1000',
    Labels: { a: '1' },
    HostConfig: {
      CapDrop: ['ALL'],
      Devices: [],
      Privileged: false,
      PidsLimit: 512,
      Mounts: [{ Type: 'bind' as const, Source: '/s', Target: '/certyn' }],
    },
  } satisfies Docker.ContainerCreateOptions
  function made(change: object, config: object = {}): Docker.ContainerInspectInfo {
    return {
      Config: { User: '1000:1000', Labels: { a: '1', b: 'of the image' }, Tty: false, ...config },
      HostConfig: { ...asked.HostConfig, Devices: null, Extra: 'of the Engine', ...change },
      Mounts: [{ Type: 'bind', Source: '/s', Destination: '/certyn' }],
    } as unknown as Docker.ContainerInspectInfo
  }

  test('the Engine’s own additions are no deviation', () => {
    expect(deviations(asked, made({}))).toEqual([])
  })
  test.each([
    ['CapDrop', { CapDrop: null }],
    ['Privileged', { Privileged: true }],
    ['PidsLimit', { PidsLimit: 0 }],
    ['Devices', { Devices: [{ PathOnHost: '/dev/kvm' }] }],
  ])('%s that came out otherwise is one', (name, change) => {
    expect(deviations(asked, made(change)).join()).toContain(name)
  })
  test('so is a volume that nobody asked for', () => {
    const volume = { Type: 'volume', Name: 'x', Destination: '/data' }
    const more = { ...made({}), Mounts: [...made({}).Mounts, volume] } as Docker.ContainerInspectInfo
    expect(deviations(asked, more).join()).toContain('/data')
  })
  test('so is another user', () => {
    expect(deviations(asked, made({}, { User: '' })).join()).toContain('User')
  })
})
