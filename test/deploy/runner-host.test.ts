import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { VERSION } from '../../protocol/version.ts'
import { SETTING_NAMES } from '../../runner/config.ts'
import { hasTools } from '../support/tools.ts'

/** What deploy/ says of runners fits the runner of this release. That it works is tried in test/e2e/runner-host.test.ts. */

const DEPLOY = new URL('../../deploy/', import.meta.url).pathname
const read = (file: string) => readFileSync(`${DEPLOY}${file}`, 'utf8')

const Compose = z.object({
  services: z.record(
    z.string(),
    z.object({
      image: z.string().optional(),
      environment: z.record(z.string(), z.string()).optional(),
      volumes: z.array(z.string()),
    }),
  ),
})
const compose = (file: string) => Compose.parse(parse(read(`runner-host/${file}`))).services

const ForPods = z.object({
  selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
  template: z.object({
    metadata: z.object({ labels: z.record(z.string(), z.string()) }),
    spec: z.object({
      containers: z.tuple([
        z.object({
          image: z.string(),
          envFrom: z.tuple([z.object({ configMapRef: z.object({ name: z.string() }) })]),
          env: z.array(z.object({ name: z.string() })),
          volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string() })),
          livenessProbe: z.unknown().optional(),
          readinessProbe: z.object({ exec: z.object({ command: z.array(z.string()) }) }),
        }),
      ]),
      volumes: z.array(
        z.object({
          name: z.string(),
          hostPath: z.object({ path: z.string() }).optional(),
          secret: z.object({ secretName: z.string(), defaultMode: z.number() }).optional(),
        }),
      ),
    }),
  }),
})

const variablesOf = (text: string) => [...text.matchAll(/^([A-Z][A-Z_]+)=/gm)].map(([, name]) => name)

test('every setting in them is one of the runner’s', () => {
  const unit = read('systemd/certyn-runner.service')
  const [, map, pods] = kubernetes()
  const named = [
    ...variablesOf(read('runner-host/runner.env.example')),
    ...Object.keys(compose('compose.yml').runner?.environment ?? {}),
    ...Object.keys(compose('compose.socket-proxy.yml').runner?.environment ?? {}),
    ...[...(/^Environment=(.*)$/m.exec(unit)?.[1] ?? '').matchAll(/([A-Z_]+)=/g)].map(([, name]) => name),
    ...Object.keys(map.data),
    ...pods.template.spec.containers[0].env.map(({ name }) => name),
  ].filter(name => name !== 'NODE_ENV')
  expect(named.length).toBeGreaterThan(12)
  expect(named.filter(name => !SETTING_NAMES.includes(name ?? ''))).toEqual([])
})

test('they name the images of this release', () => {
  expect(compose('compose.yml').runner?.image).toContain(`certyn/runner:v${VERSION}`)
  expect(kubernetes()[2].template.spec.containers[0].image).toBe(`docker.io/certyn/runner:v${VERSION}`)
})

test('behind the proxy the runner has the Engine’s own socket no more', () => {
  const { runner, 'engine-proxy': proxy } = compose('compose.socket-proxy.yml')
  expect(runner?.volumes).toContain('/dev/null:/var/run/docker.sock')
  const socket = runner?.environment?.DOCKER_HOST?.replace('unix://', '')
  expect(proxy?.environment?.CERTYN_PROXY_SOCKET).toBe(socket)
})

test('a token is never in an environment', () => {
  const all = ['runner-host/compose.yml', 'runner-host/runner.env.example', 'kubernetes/runner.yml']
  for (const file of [...all, 'systemd/certyn-runner.service'])
    expect(read(file)).not.toMatch(/REGISTRATION_TOKEN[=:]/)
})

describe('in Kubernetes', () => {
  test('what is mounted is there, the state is the node’s, and the token is read by nobody else', () => {
    const [, map, pods] = kubernetes()
    const { containers, volumes } = pods.template.spec
    expect(pods.selector.matchLabels).toEqual(pods.template.metadata.labels)
    expect(containers[0].envFrom[0].configMapRef.name).toBe(map.metadata.name)
    expect(containers[0].volumeMounts.map(({ name }) => name).sort()).toEqual(
      volumes.map(({ name }) => name).sort(),
    )
    const state = volumes.find(({ name }) => name === 'state')
    // The same path on both sides, because jobs get folders of it from the node's Engine.
    expect(containers[0].volumeMounts.find(({ name }) => name === 'state')?.mountPath).toBe(
      state?.hostPath?.path,
    )
    expect(volumes.find(({ name }) => name === 'token')?.secret?.defaultMode).toBe(0o400)
  })

  test('a control plane that is away makes no runner start again', () => {
    const { containers } = kubernetes()[2].template.spec
    expect(containers[0].livenessProbe).toBeUndefined()
    expect(containers[0].readinessProbe.exec.command.at(-1)).toBe('health')
  })
})

describe.skipIf(!hasTools('systemd-analyze'))('as a systemd unit', () => {
  const UNIT = `${DEPLOY}systemd/certyn-runner.service`

  test('it is what systemd takes, but for the program that is not here', () => {
    const { stderr } = verify(UNIT)
    expect(
      stderr.split('\n').filter(line => line !== '' && !line.includes('/usr/bin/node is not executable')),
    ).toEqual([])
  })

  test('little is left to it', () => {
    const said = execFileSync('systemd-analyze', ['security', '--offline=true', UNIT], { encoding: 'utf8' })
    const level = Number(/Overall exposure level for certyn-runner.service: ([\d.]+)/.exec(said)?.[1])
    expect(level).toBeLessThanOrEqual(2)
  })
})

function verify(unit: string): { stderr: string } {
  try {
    execFileSync('systemd-analyze', ['verify', unit], { encoding: 'utf8', stdio: 'pipe' })
    return { stderr: '' }
  } catch (error) {
    return z.object({ stderr: z.string() }).parse(error)
  }
}

function kubernetes() {
  const documents = parseAllDocuments(read('kubernetes/runner.yml')).map(one => one.toJS())
  return z
    .tuple([
      z.object({ kind: z.literal('Namespace') }),
      z.object({
        kind: z.literal('ConfigMap'),
        metadata: z.object({ name: z.string() }),
        data: z.record(z.string(), z.string()),
      }),
      z.object({ kind: z.literal('DaemonSet'), spec: ForPods }).transform(({ spec }) => spec),
    ])
    .parse(documents)
}
