import type Docker from 'dockerode'
import type { ImageFacts } from '../../executors/docker/images.ts'
import type { Engine } from '../engine/engine.ts'
import { type Check, type Finding, fail, ok, skipped } from '../examination.ts'
import type { Settings } from '../host/settings.ts'
import { type Bench, type Ran, removeLeftovers, runInContainer } from './container.ts'
import { type Inside, readInside } from './inside.ts'
import type { JobNetwork } from './network.ts'
import { triesOf } from './reachability.ts'
import { type Interpreter, lookAround } from './scripts.ts'

export interface JobContainer {
  readonly bench: Bench
  readonly interpreter: Interpreter
  readonly inside: Inside
  readonly asked: Docker.HostConfig
}

interface Have {
  readonly settings: Settings
  readonly engine: Engine
  readonly image: ImageFacts
  readonly network: JobNetwork
  readonly hostStatePath: string
}

const MIB = 1024 * 1024
const REMEDIES: Readonly<Record<string, string>> = {
  deviates:
    'something changes what is asked: a plugin, a default in daemon.json, or a kernel without these limits (docker info shows warnings)',
  network_unreachable:
    'remove the network (docker network rm certyn-jobs) or restart the Engine: its rules may be gone',
  disk_full: "free space on the Engine's disk (docker system df)",
}
const OTHERWISE = "see the Engine's log (journalctl -u docker)"
const NO_FOLDER = /bind source path does not exist/

/** Whether a container of the executor's template starts, and is inside what the template asks for. */
export const jobContainer: Check<Have, JobContainer> = {
  name: 'job container',
  async look({ settings, engine, image, network, hostStatePath }, signal) {
    const bench = { settings, docker: engine.docker, host: engine.facts, image, hostStatePath }
    await removeLeftovers(bench, Date.now())
    const tries = triesOf(settings.config, network)
    let unfit: Finding<never> = skipped('an image with node or a shell')
    for (const interpreter of ['node', 'sh'] as const) {
      const ran = await runInContainer(bench, lookAround(interpreter), tries, signal)
      if (ran.type === 'refused') {
        if (ran.reason === 'command_not_found') continue
        const isFolder = NO_FOLDER.test(ran.message)
        return fail(ran.message, isFolder ? folderRemedy(bench) : (REMEDIES[ran.reason] ?? OTHERWISE))
      }
      const inside = readInside(ran.output)
      if (inside.ended) return judge(ran, { bench, interpreter, inside, asked: ran.asked }, network.name)
      if (ran.code !== NOT_FOUND) unfit = unended(ran, interpreter)
    }
    return unfit
  },
}

const NOT_FOUND = 127

function unended({ code, output }: Ran & { type: 'ran' }, interpreter: Interpreter): Finding<never> {
  const said = output.trim().split('\n').slice(-3).join(' | ') || 'without a word'
  const seen = `the script for ${interpreter} did not come to its end (exit ${code}): ${said}`
  return fail(seen, 'try an image with a plain shell, such as busybox')
}

function folderRemedy({ settings, hostStatePath }: Bench): string {
  const here = settings.config.RUNNER_STATE_DIR
  return `${hostStatePath} on the Engine's host has to be ${here} here; with SELinux, let containers use it: chcon -Rt container_file_t ${hostStatePath}`
}

/** Exported for its tests. */
export function judge(
  ran: Pick<Ran & { type: 'ran' }, 'word' | 'hasEcho'>,
  container: JobContainer,
  network: string,
): Finding<JobContainer> {
  const { inside, asked, bench } = container
  if (ran.word !== inside.word || !ran.hasEcho) {
    const seen = 'what it and the runner write into its session folder does not reach the other'
    return fail(seen, folderRemedy(bench))
  }
  const wrong = weaknesses(inside, asked, bench.settings.policy.runtime !== undefined)
  if (wrong.length > 0) return fail(`weaker than asked: ${wrong.join(', ')}`, REMEDIES.deviates ?? OTHERWISE)
  const limits = `${(asked.Memory ?? 0) / MIB} MB, ${(asked.NanoCpus ?? 0) / 1e9} CPU, ${asked.PidsLimit} processes`
  const user = `user ${inside.status.get('Uid')}`
  return ok(
    `starts on ${network} as ${user}, root read-only, no capabilities, system calls filtered, ${limits}`,
    container,
  )
}

/** What the container itself sees of its limits. @param isOtherRuntime such as gVisor, which filters by itself */
export function weaknesses(
  { mounts, status, limits }: Inside,
  asked: Docker.HostConfig,
  isOtherRuntime: boolean,
): string[] {
  const memory =
    limits.get('/sys/fs/cgroup/memory.max') ?? limits.get('/sys/fs/cgroup/memory/memory.limit_in_bytes')
  const processes = limits.get('/sys/fs/cgroup/pids.max') ?? limits.get('/sys/fs/cgroup/pids/pids.max')
  const wrong = [
    !/(?:^|,)ro(?:,|$)/.test(mounts.get('/') ?? '') && 'the root can be written',
    status.get('Uid') === '0' && 'it runs as root',
    !/^0+$/.test(status.get('CapEff') ?? '') && `it has capabilities (${status.get('CapEff')})`,
    status.get('NoNewPrivs') !== '1' && 'it may gain privileges',
    status.get('Seccomp') !== '2' && !isOtherRuntime && 'its system calls are not filtered',
    memory !== undefined && memory !== String(asked.Memory) && `its memory limit is ${memory}`,
    processes !== undefined &&
      processes !== String(asked.PidsLimit) &&
      `its limit of processes is ${processes}`,
  ]
  return wrong.filter(one => one !== false)
}
