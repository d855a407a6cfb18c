import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import type { Job } from '../../protocol/runner-api.ts'
import { containerOptions, type TemplateInput } from '../../runner/executors/docker/template.ts'
import { aJob } from './support/factories.ts'

const ROUNDS = 500

function inputFor(job: Job): TemplateInput {
  return {
    job,
    identity: { installationId: 'i', runnerId: 'r', sessionId: 's', runId: 'run' },
    image: { id: 'sha256:1', user: '1000', labels: {}, volumes: [] },
    host: { cpus: 4, memoryMb: 8192, swapLimit: true },
    policy: { allow_userns_seccomp: false },
    settings: { logCapMb: 256, jobHttpsProxy: null, jobNoProxy: null, hasCa: false, ownUser: null },
    sessionFolder: '/srv/state/sessions/s',
  }
}

/** Everything but what a job may choose: its command, its variables and the sizes it is allowed. */
function fixedPartHash(job: Job): string {
  const { Cmd, Env, HostConfig, ...rest } = containerOptions(inputFor(job))
  const { Memory, MemorySwap, NanoCpus, ShmSize, Tmpfs, ...host } = HostConfig ?? {}
  const tmpfs = Object.entries(Tmpfs ?? {}).map(([path, options]) => [path, options.replace(/size=\d+m/, '')])
  return createHash('sha256')
    .update(JSON.stringify([rest, host, tmpfs]))
    .digest('hex')
}

/** Words that mean something to an Engine, in places where a job may put any text. */
const HOSTILE = [
  '--privileged',
  'HostConfig',
  '/var/run/docker.sock:/var/run/docker.sock',
  'Privileged=true',
  '{"Privileged":true}',
  '__proto__',
  'constructor',
  'CapAdd',
  'SYS_ADMIN',
  'host',
  'size=1g,exec',
  '\u0000',
  '../../etc',
  'Mounts',
  '$(id)',
  '日本語',
  '',
]

/** Deterministic: a failing round can be run again by its number. */
function generator(seed: number): () => number {
  let state = seed * 2654435761
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822507) + 0x9e3779b9) >>> 0
    return state / 2 ** 32
  }
}

function hostileJob(seed: number): Job {
  const random = generator(seed + 1)
  const pick = () => HOSTILE[Math.floor(random() * HOSTILE.length)] ?? ''
  const extra = {
    HostConfig: { Privileged: true },
    Privileged: true,
    User: '0',
    Mounts: [{ Source: '/' }],
    [pick()]: pick(),
  }
  return {
    ...extra,
    ...aJob({
      image: pick(),
      command: random() < 0.2 ? null : Array.from({ length: 1 + Math.floor(random() * 4) }, pick),
      env: Object.fromEntries(Array.from({ length: Math.floor(random() * 5) }, () => [pick(), pick()])),
      timeout_seconds: 1 + Math.floor(random() * 86_400),
      stream: random() < 0.5,
      resources: {
        ...(random() < 0.5 && { memory_mb: 32 + Math.floor(random() * 1e6) }),
        ...(random() < 0.5 && { cpus: 0.1 + random() * 1000 }),
        ...(random() < 0.5 && { shm_mb: 1 + Math.floor(random() * 1e6) }),
      },
    }),
  }
}

test('whatever a job says, only what it may choose changes', () => {
  const fixed = fixedPartHash(aJob())
  for (let seed = 0; seed < ROUNDS; seed++)
    expect(fixedPartHash(hostileJob(seed)), `seed ${seed}`).toBe(fixed)
})

test('the whole template, as it is promised', () => {
  const MIB = 1024 * 1024
  const tmp = (how: string, sizeMb: number) => `rw,${how},nosuid,nodev,mode=1777,uid=1000,size=${sizeMb}m`
  expect(containerOptions(inputFor(aJob({ env: { MINE: '1' } })))).toEqual({
    name: 'certyn-s',
    Image: 'sha256:1',
    Cmd: ['true'],
    Env: [
      ...['HOME=/tmp', 'MINE=1', 'CERTYN_RUN_ID=run', 'CERTYN_SESSION_ID=s'],
      'CERTYN_ARTIFACTS_DIR=/certyn/artifacts',
    ],
    User: '1000',
    Labels: { 'certyn.installation_id': 'i', 'certyn.runner_id': 'r', 'certyn.session_id': 's' },
    AttachStdin: false,
    OpenStdin: false,
    Tty: false,
    Healthcheck: { Test: ['NONE'] },
    ExposedPorts: {},
    HostConfig: {
      Privileged: false,
      CapAdd: [],
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': tmp('exec', 1024), '/run': tmp('noexec', 64), '/home': tmp('exec', 256) },
      PidsLimit: 512,
      Memory: 2048 * MIB,
      MemorySwap: 2048 * MIB,
      OomKillDisable: false,
      OomScoreAdj: 500,
      NanoCpus: 1e9,
      Ulimits: [
        { Name: 'nofile', Soft: 16_384, Hard: 16_384 },
        { Name: 'core', Soft: 0, Hard: 0 },
      ],
      IpcMode: 'private',
      ShmSize: 512 * MIB,
      PidMode: '',
      UTSMode: '',
      UsernsMode: '',
      NetworkMode: 'certyn-jobs',
      PortBindings: {},
      PublishAllPorts: false,
      Binds: [],
      Mounts: [
        {
          Type: 'bind',
          Source: '/srv/state/sessions/s',
          Target: '/certyn',
          ReadOnly: false,
          BindOptions: { Propagation: 'rprivate' },
        },
      ],
      VolumesFrom: [],
      Devices: [],
      DeviceRequests: [],
      Init: true,
      RestartPolicy: { Name: 'no' },
      AutoRemove: false,
      LogConfig: { Type: 'local', Config: { 'max-size': '262m', 'max-file': '2', compress: 'false' } },
    },
  })
})

test('what an image declares as a volume is memory of a limited size, except the session’s own folder', () => {
  const input = inputFor(aJob({ resources: { memory_mb: 200 } }))
  const volumes = ['/data', '/var/lib/x/', 'relative', '/tmp', '/certyn', '/certyn/artifacts']
  const { Tmpfs } = containerOptions({ ...input, image: { ...input.image, volumes } }).HostConfig ?? {}
  expect(Object.keys(Tmpfs ?? {}).sort()).toEqual([
    '/data',
    '/home',
    '/relative',
    '/run',
    '/tmp',
    '/var/lib/x',
  ])
  expect(Tmpfs?.['/data']).toMatch(/size=100m/)
})

test('a job cannot claim to be another session', () => {
  const env = { CERTYN_SESSION_ID: 'ses_other', CERTYN_RUN_ID: 'run_other', CERTYN_ARTIFACTS_DIR: '/etc' }
  const made = containerOptions(inputFor(aJob({ env }))).Env ?? []
  expect(made.filter(one => one.startsWith('CERTYN_'))).toEqual([
    'CERTYN_SESSION_ID=s',
    'CERTYN_RUN_ID=run',
    'CERTYN_ARTIFACTS_DIR=/certyn/artifacts',
  ])
})

test('CPUs are clamped to the host’s, and swap equals memory only where the Engine can limit it', () => {
  const job = aJob({ resources: { cpus: 64, memory_mb: 100 } })
  expect(containerOptions(inputFor(job)).HostConfig).toMatchObject({
    NanoCpus: 4e9,
    MemorySwap: 100 * 1024 * 1024,
  })
  const old = { ...inputFor(job), host: { cpus: 4, memoryMb: 8192, swapLimit: false } }
  expect(containerOptions(old).HostConfig).not.toHaveProperty('MemorySwap')
})

test.each([
  [257, '263m'],
  [1, '64m'],
])('one file of the Engine’s log has room for a log of %i MB, also of long lines', (logCapMb, size) => {
  const input = inputFor(aJob())
  const { LogConfig } =
    containerOptions({ ...input, settings: { ...input.settings, logCapMb } }).HostConfig ?? {}
  expect(LogConfig?.Config).toMatchObject({ 'max-size': size, 'max-file': '2' })
})

test.each([
  [true, { 'certyn.seccomp': 'userns' }, true],
  [false, { 'certyn.seccomp': 'userns' }, false],
  [true, {}, false],
  [true, { 'certyn.seccomp': 'unconfined' }, false],
])(
  'the wider seccomp profile needs the policy (%s) and the image’s label %j',
  (allowed, labels, expected) => {
    const input = inputFor(aJob())
    const made = containerOptions({
      ...input,
      image: { ...input.image, labels: labels as Record<string, string> },
      policy: { allow_userns_seccomp: allowed },
    })
    const options: string[] = made.HostConfig?.SecurityOpt ?? []
    expect(options[0]).toBe('no-new-privileges:true')
    expect(options.some(one => one.startsWith('seccomp='))).toBe(expected)
    expect(options.join()).not.toContain('unconfined')
  },
)
