import { describe, expect, test } from 'vitest'
import { mountOf } from '../../runner/doctor/host/file-system.ts'
import { forbiddenBy } from '../../runner/doctor/job/browser-sandbox.ts'
import { type Reach, readInside } from '../../runner/doctor/job/inside.ts'
import { type JobContainer, judge, weaknesses } from '../../runner/doctor/job/job-container.ts'
import { jobSharedMemory } from '../../runner/doctor/job/job-shared-memory.ts'
import { jobGateway, jobMetadata } from '../../runner/doctor/job/reachability.ts'
import { redactor } from '../../runner/redaction.ts'

describe('what a container says of itself', () => {
  const SAID = [
    'mount / ro,relatime,lowerdir=/a',
    'mount /dev/shm rw,nosuid,size=524288k',
    'status Uid 1000',
    'status CapEff 0000000000000000',
    'status NoNewPrivs 1',
    'status Seccomp 2',
    'limit /sys/fs/cgroup/memory.max 2147483648',
    'limit /sys/fs/cgroup/pids.max 512',
    'word 0123',
  ]
  const ASKED = { Memory: 2147483648, PidsLimit: 512 }
  const but = (...lines: string[]) => readInside([...SAID, ...lines].join('\n'))

  test('is read line by line; the last word on a thing counts, and other lines are not heeded', () => {
    const inside = but(
      'a banner of the image',
      'sysctl user/max_user_namespaces 7',
      'userns 1 Operation not permitted',
      'end',
    )
    expect(inside.mounts.get('/dev/shm')).toBe('rw,nosuid,size=524288k')
    expect(inside.sysctls.get('user/max_user_namespaces')).toBe('7')
    expect(inside).toMatchObject({
      word: '0123',
      ended: true,
      userns: { code: 1, said: 'Operation not permitted' },
    })
    expect(readInside('')).toMatchObject({ word: null, ended: false, userns: null })
  })

  test.each([
    ['0123', true, 'ok'],
    ['another', true, 'fail'],
    ['0123', false, 'fail'],
  ])('shows whether the session folder is shared: word %s, answered %s is %s', (word, hasEcho, outcome) => {
    const settings = { config: { RUNNER_STATE_DIR: '/here' }, policy: {} }
    const bench = { settings, hostStatePath: '/there' }
    const container = { inside: but(), asked: ASKED, bench } as unknown as JobContainer
    const found = judge({ word, hasEcho }, container, 'certyn-jobs')
    expect(found.outcome).toBe(outcome)
    if (outcome === 'fail')
      expect(found).toMatchObject({
        remedy: expect.stringContaining("/there on the Engine's host has to be /here"),
      })
  })

  test('is as strong as the template asks', () => {
    expect(weaknesses(but(), ASKED, false)).toEqual([])
  })

  test.each([
    ['mount / rw,relatime,errors=remount-ro', 'the root can be written'],
    ['status Uid 0', 'it runs as root'],
    ['status CapEff 00000000a80425fb', 'it has capabilities (00000000a80425fb)'],
    ['status NoNewPrivs 0', 'it may gain privileges'],
    ['status Seccomp 0', 'its system calls are not filtered'],
    ['limit /sys/fs/cgroup/memory.max max', 'its memory limit is max'],
    ['limit /sys/fs/cgroup/pids.max max', 'its limit of processes is max'],
  ])('is weaker with "%s"', (line, weakness) => {
    expect(weaknesses(but(line), ASKED, false)).toEqual([weakness])
  })

  test('need not be a seccomp filter where another runtime filters by itself', () => {
    expect(weaknesses(but('status Seccomp 0'), ASKED, true)).toEqual([])
  })

  test.each<[string, Reach]>([
    ['0', 'open'],
    ['1 ECONNREFUSED', 'refused'],
    ["1 wget: can't connect to remote host (172.18.0.1): Connection refused", 'refused'],
    ["1 nc: can't connect to remote host: Cannot assign requested address", 'no route'],
    ['1 EHOSTUNREACH', 'no route'],
    ['1 ENETUNREACH', 'no route'],
    ['1 timed out', 'silent'],
    ['143', 'silent'],
    ['1', 'silent'],
    ['8 wget: server returned error: HTTP/1.1 404 Not Found', 'open'],
    ['1 wget: bad header line: SSH-2.0-OpenSSH_9.2', 'open'],
    ['127 no tool', 'unknown'],
  ])('of a reach that ended with "%s" means %s', (said, reach) => {
    expect(readInside(`reach 192.0.2.1 443 ${said}`).reached.get('192.0.2.1 443')).toBe(reach)
  })

  test.each([
    [[], null],
    [['kernel/unprivileged_userns_clone 1', 'user/max_user_namespaces 9'], null],
    [['kernel/unprivileged_userns_clone 0'], 'kernel.unprivileged_userns_clone=1'],
    [['user/max_user_namespaces 0'], 'user.max_user_namespaces='],
    [['kernel/apparmor_restrict_unprivileged_userns 1'], 'AppArmor'],
  ])('of kernel settings %j tells what forbids user namespaces', (lines, remedy) => {
    const inside = readInside(lines.map(line => `sysctl ${line}`).join('\n'))
    if (remedy === null) expect(forbiddenBy(inside)).toBeNull()
    else expect(forbiddenBy(inside)).toContain(remedy)
  })
})

describe('what a job reaches', () => {
  const network = { name: 'certyn-jobs', gateways: ['172.18.0.1'], device: 'br-0123456789ab' }
  const signal = new AbortController().signal
  const container = (...lines: string[]) => ({ inside: readInside(lines.join('\n')) }) as JobContainer

  test('of the metadata services is a warning with the rule that ends it', async () => {
    const lines = ['reach 169.254.169.254 80 0', 'reach fd00:ec2::254 80 1 ENETUNREACH']
    const found = await jobMetadata.look({ container: container(...lines), network }, signal)
    expect(found).toMatchObject({
      outcome: 'warn',
      seen: 'reached (169.254.169.254: open, fd00:ec2::254: no route)',
      remedy: expect.stringContaining(
        'iptables -I DOCKER-USER -i br-0123456789ab -d 169.254.169.254 -j DROP',
      ),
    })
    expect(found).not.toMatchObject({ remedy: expect.stringContaining('ip6tables') })
  })

  test('of the metadata services by IPv6 has a rule of its own', async () => {
    const lines = ['reach 169.254.169.254 80 1 ETIMEDOUT', 'reach fd00:ec2::254 80 0']
    const found = await jobMetadata.look({ container: container(...lines), network }, signal)
    expect(found).toMatchObject({
      outcome: 'warn',
      remedy: expect.stringMatching(/: ip6tables .* fd00:ec2::254 /),
    })
  })

  test('is not told from an image without the means', async () => {
    const lines = ['reach 169.254.169.254 80 127 no tool', 'reach 172.18.0.1 22 127 no tool']
    for (const check of [jobMetadata, jobGateway]) {
      expect(await check.look({ container: container(...lines), network }, signal)).toEqual({
        outcome: 'skipped',
        needs: 'an image with node, nc or wget',
      })
    }
  })
})

test.each([
  ['rw,nosuid,size=524288k', 'ok', '512 MB, as asked'],
  ['rw,nosuid,size=65536k,inode64', 'fail', '64 MB instead of 512 MB'],
  ['', 'fail', 'the container has none'],
])('a /dev/shm of "%s" is %s', async (options, outcome, seen) => {
  const inside = readInside(options === '' ? '' : `mount /dev/shm ${options}`)
  const container = { inside, asked: { ShmSize: 512 * 1024 * 1024 } } as JobContainer
  const found = await jobSharedMemory.look({ container }, new AbortController().signal)
  expect(found).toMatchObject({ outcome, seen })
})

describe('the file system of a path', () => {
  const MOUNTS = [
    '20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
    '30 20 0:40 / /var/lib/certyn\\040runner rw - xfs /dev/sdb rw',
    '31 20 0:41 / /mnt rw shared:7 master:2 - nfs4 host:/x rw',
    '32 20 0:42 / /mnt rw - tmpfs none rw',
    'no line of a mount',
  ].join('\n')

  test.each([
    ['/var/lib', '/', 'ext4'],
    ['/var/lib/certyn runner/sessions', '/var/lib/certyn runner', 'xfs'],
    ['/var/lib/certyn runner2', '/', 'ext4'],
    ['/mnt', '/mnt', 'tmpfs'],
  ])('%s is of the innermost mount, and of the last one made there', (path, point, type) => {
    expect(mountOf(path, MOUNTS)).toEqual({ point, type })
  })

  test('is not known without mounts', () => {
    expect(mountOf('/', '')).toBeNull()
  })
})

test('secrets are taken out by what they are and by what they look like', () => {
  const redact = redactor(['  not-a-token\n', undefined, 'x'])
  expect(redact('x not-a-token, cty_run_abc123, https://name:pass@host/ and https://host/@path')).toBe(
    'x [redacted], [redacted], https://[redacted]@host/ and https://host/@path',
  )
})
