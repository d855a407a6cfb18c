import { posix } from 'node:path'
import type Docker from 'dockerode'
import type { Job } from '../../../protocol/runner-api.ts'
import type { Policy } from '../../policy.ts'
import { networkVariables } from '../network-variables.ts'
import type { HostFacts } from './engine.ts'
import type { ImageFacts } from './images.ts'
import { SECCOMP_LABEL, SECCOMP_USERNS, USERNS_PROFILE } from './seccomp.ts'

/**
 * The one form of container this runner makes. A job chooses its image, command, environment and, within limits,
 * memory, CPUs and shared memory; everything else is fixed here, so that nothing in a job can name an Engine option.
 */

const MIB = 1024 * 1024
const DEFAULT_MEMORY_MB = 2048
const DEFAULT_SHM_MB = 512
const DEFAULT_CPUS = 1
const PIDS_LIMIT = 512
/** Browsers open some thousands; more than this is a leak. An Engine in a container may not be able to raise it further. */
const OPEN_FILES = 16_384
/** Jobs go first when the host runs out of memory, long before the runner. */
const OOM_SCORE_ADJ = 500
const RUN_TMPFS_MB = 64
const HOME_TMPFS_MB = 256
const TMP_TMPFS_MIN_MB = 64
/**
 * The Engine's form of a line is shorter than the log's, but of long ones that it cuts in pieces a little longer. So
 * what the log has room for fits into one of the Engine's files: followed across a change of files, it skips whole
 * ones of a fast output. The file before is kept, for a reader that is not through with it.
 */
const ENGINE_LOG_FACTOR = 1.02
const ENGINE_LOG_FILES = 2
/** A job may write as much before anybody has begun to read. */
const ENGINE_LOG_MIN_MB = 64
const FALLBACK_USER = '1000:1000'

export const NETWORK = 'certyn-jobs'
const SESSION_MOUNT = '/certyn'
export const LABELS = {
  installation: 'certyn.installation_id',
  runner: 'certyn.runner_id',
  session: 'certyn.session_id',
} as const

export interface TemplateInput {
  readonly job: Job
  readonly identity: {
    readonly installationId: string
    readonly runnerId: string
    readonly sessionId: string
    readonly runId: string
  }
  readonly image: Pick<ImageFacts, 'id' | 'user' | 'labels' | 'volumes'>
  readonly host: Pick<HostFacts, 'cpus' | 'memoryMb' | 'swapLimit'>
  readonly policy: Pick<Policy, 'max_memory_mb' | 'max_cpus' | 'network' | 'runtime' | 'allow_userns_seccomp'>
  readonly settings: {
    readonly logCapMb: number
    readonly jobHttpsProxy: string | null
    readonly jobNoProxy: string | null
    /** A CA bundle lies in the session folder. */
    readonly hasCa: boolean
    /** Of this process; null for root, which may be any user. */
    readonly ownUser: { readonly uid: number; readonly gid: number } | null
  }
  /** As the Engine sees it. */
  readonly sessionFolder: string
}

export function containerName(sessionId: string): string {
  return `certyn-${sessionId}`
}

export function containerOptions(input: TemplateInput): Docker.ContainerCreateOptions {
  const { identity, image, job } = input
  return {
    name: containerName(identity.sessionId),
    Image: image.id,
    ...(job.command !== null && { Cmd: job.command }),
    Env: environmentOf(input),
    User: userOf(image.user, input.settings.ownUser),
    Labels: {
      [LABELS.installation]: identity.installationId,
      [LABELS.runner]: identity.runnerId,
      [LABELS.session]: identity.sessionId,
    },
    AttachStdin: false,
    OpenStdin: false,
    Tty: false,
    // An image's own probe would run programs beside the job.
    Healthcheck: { Test: ['NONE'] },
    ExposedPorts: {},
    HostConfig: hostConfig(input),
  }
}

function hostConfig(input: TemplateInput): Docker.HostConfig {
  const { job, host, policy, settings, sessionFolder } = input
  const user = userOf(input.image.user, settings.ownUser)
  const memoryMb = job.resources.memory_mb ?? least(DEFAULT_MEMORY_MB, policy.max_memory_mb)
  const cpus = Math.min(job.resources.cpus ?? least(DEFAULT_CPUS, policy.max_cpus), host.cpus)
  const tmpMb = Math.max(TMP_TMPFS_MIN_MB, Math.floor(memoryMb / 2))
  const logFileMb = Math.max(ENGINE_LOG_MIN_MB, Math.ceil(settings.logCapMb * ENGINE_LOG_FACTOR))
  return {
    Privileged: false,
    CapAdd: [],
    CapDrop: ['ALL'],
    SecurityOpt: securityOptions(input),
    ReadonlyRootfs: true,
    Tmpfs: {
      ...Object.fromEntries(volumePaths(input.image.volumes).map(path => [path, tmpfs(user, 'exec', tmpMb)])),
      '/tmp': tmpfs(user, 'exec', tmpMb),
      '/run': tmpfs(user, 'noexec', RUN_TMPFS_MB),
      '/home': tmpfs(user, 'exec', HOME_TMPFS_MB),
    },
    PidsLimit: PIDS_LIMIT,
    Memory: memoryMb * MIB,
    ...(host.swapLimit && { MemorySwap: memoryMb * MIB }),
    OomKillDisable: false,
    OomScoreAdj: OOM_SCORE_ADJ,
    NanoCpus: Math.round(cpus * 1e9),
    Ulimits: [
      { Name: 'nofile', Soft: OPEN_FILES, Hard: OPEN_FILES },
      { Name: 'core', Soft: 0, Hard: 0 },
    ],
    IpcMode: 'private',
    ShmSize: (job.resources.shm_mb ?? DEFAULT_SHM_MB) * MIB,
    PidMode: '',
    UTSMode: '',
    UsernsMode: '',
    NetworkMode: policy.network ?? NETWORK,
    PortBindings: {},
    PublishAllPorts: false,
    Binds: [],
    Mounts: [
      {
        Type: 'bind',
        Source: sessionFolder,
        Target: SESSION_MOUNT,
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
    // Unlike `json-file` it keeps every byte as it was written.
    LogConfig: {
      Type: 'local',
      Config: { 'max-size': `${logFileMb}m`, 'max-file': String(ENGINE_LOG_FILES), compress: 'false' },
    },
    ...(policy.runtime !== undefined && { Runtime: policy.runtime }),
  }
}

/** The job's own variables come first and ours last: a job cannot pretend to be another session. */
function environmentOf({ job, identity, settings }: TemplateInput): string[] {
  const env = new Map(
    Object.entries({
      ...networkVariables({
        httpsProxy: settings.jobHttpsProxy,
        noProxy: settings.jobNoProxy,
        caFile: settings.hasCa ? `${SESSION_MOUNT}/ca.pem` : null,
      }),
      HOME: '/tmp',
      ...job.env,
      CERTYN_RUN_ID: identity.runId,
      CERTYN_SESSION_ID: identity.sessionId,
      CERTYN_ARTIFACTS_DIR: `${SESSION_MOUNT}/artifacts`,
    }),
  )
  return [...env].map(([name, value]) => `${name}=${value}`)
}

/** Without a profile of ours the Engine applies its default one. */
function securityOptions({ image, policy }: TemplateInput): string[] {
  const wantsUserns = image.labels[SECCOMP_LABEL] === SECCOMP_USERNS
  const seccomp = wantsUserns && policy.allow_userns_seccomp ? [`seccomp=${USERNS_PROFILE}`] : []
  return ['no-new-privileges:true', ...seccomp]
}

/**
 * What an image declares as a volume would become one on the host's disk, writable without a limit; memory takes its
 * place. Not below the session folder, where results would be lost unseen: such an image is refused.
 */
function volumePaths(volumes: readonly string[]): string[] {
  const paths = volumes.map(path => posix.resolve('/', path))
  return paths.filter(path => path !== SESSION_MOUNT && !path.startsWith(`${SESSION_MOUNT}/`))
}

/** Owned by the job's user, because the container runtime gives the mount the mode of the image's directory. */
function tmpfs(user: string, exec: 'exec' | 'noexec', sizeMb: number): string {
  const [uid, gid] = user.split(':')
  const owner = gid === undefined ? `uid=${uid}` : `uid=${uid},gid=${gid}`
  return `rw,${exec},nosuid,nodev,mode=1777,${owner},size=${sizeMb}m`
}

/** The image's user if it is a number and not root. A runner that is not root can share files with itself only. */
export function userOf(imageUser: string, own: { uid: number; gid: number } | null): string {
  if (own !== null) return `${own.uid}:${own.gid}`
  return /^\d+(?::\d+)?$/.test(imageUser) && Number.parseInt(imageUser, 10) !== 0 ? imageUser : FALLBACK_USER
}

function least(value: number, limit: number | undefined): number {
  return limit === undefined ? value : Math.min(value, limit)
}
