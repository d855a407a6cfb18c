import { randomBytes } from 'node:crypto'
import { chmod, lstat, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Docker from 'dockerode'
import { classifyFailure } from '../../executors/docker/classify-failure.ts'
import { stateOf } from '../../executors/docker/containers.ts'
import { templateSettings } from '../../executors/docker/docker-executor.ts'
import {
  engineRefusal,
  type HostFacts,
  isNotFound,
  untilStopped,
  within,
} from '../../executors/docker/engine.ts'
import type { ImageFacts } from '../../executors/docker/images.ts'
import { containerName, containerOptions, LABELS } from '../../executors/docker/template.ts'
import { deviations } from '../../executors/docker/verify.ts'
import { reasonOf } from '../../log.ts'
import type { Settings } from '../host/settings.ts'
import { ECHO_FILE, type Script, WORD_FILE } from './scripts.ts'

/**
 * One container of the executor's own template, with a script of the doctor's in place of a job. Its labels are no
 * installation's and its session is no session id, so that no daemon takes it for one of its own; its name is
 * `certyn-doctor-...`. It is removed whatever happens, and what a killed doctor left is removed by the next.
 */
const INSTALLATION = 'doctor'
/** A script ends by itself in a fraction of this. */
const LIMIT_MS = 60_000
/** An older one is of a doctor that was killed: none takes so long. */
const LEFTOVER_AGE_MS = 600_000
const OUTPUT_LINES = 200
const SHARED_DIRECTORY = 0o777

export interface Bench {
  readonly settings: Settings
  readonly docker: Docker
  readonly host: HostFacts
  readonly image: ImageFacts
  /** What the Engine's host calls the state directory. */
  readonly hostStatePath: string
}

export type Ran =
  | {
      readonly type: 'ran'
      readonly code: number
      readonly output: string
      readonly word: string
      readonly hasEcho: boolean
      readonly asked: Docker.HostConfig
    }
  | { readonly type: 'refused'; readonly reason: string; readonly message: string }

/** @param env of the script @throws on abort, when the Engine does not answer, and when the container could not be removed */
export async function runInContainer(
  bench: Bench,
  script: Script,
  env: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Ran> {
  const id = `doctor-${randomBytes(6).toString('hex')}`
  const folder = join(bench.settings.config.RUNNER_STATE_DIR, id)
  const word = randomBytes(6).toString('hex')
  try {
    await makeFolder(folder, word)
    const options = optionsOf(bench, id, script, env)
    // Not given up on abort: a create that the Engine carries out late would leave a container behind.
    const made = await within(bench.docker, one => one.createContainer(options))
    signal.throwIfAborted()
    const container = await within(bench.docker, one => one.getContainer(made.id).inspect(), { signal })
    const wrong = deviations(options, container)
    if (wrong.length > 0) return { type: 'refused', reason: 'deviates', message: wrong.join('; ') }
    await within(bench.docker, one => one.getContainer(made.id).start(), { signal })
    return {
      ...(await outcome(bench.docker, made.id, signal)),
      word,
      hasEcho: await hasEcho(folder),
      asked: options.HostConfig ?? {},
    }
  } catch (error) {
    const refusal = signal.aborted ? null : engineRefusal(error)
    if (refusal === null) throw error
    const { reason } = classifyFailure('start', refusal.message)
    return { type: 'refused', reason, message: refusal.message }
  } finally {
    await removeContainer(bench.docker, containerName(id)).finally(() =>
      rm(folder, { recursive: true, force: true }),
    )
  }
}

function optionsOf(bench: Bench, id: string, script: Script, env: Readonly<Record<string, string>>) {
  const { settings, host, image, hostStatePath } = bench
  const job = {
    image: image.id,
    command: [...script.command],
    env: { ...env },
    timeout_seconds: LIMIT_MS / 1000,
    resources: {},
    stream: false,
  }
  const options = containerOptions({
    job,
    image,
    host,
    policy: settings.policy,
    identity: { installationId: INSTALLATION, runnerId: INSTALLATION, sessionId: id, runId: id },
    settings: templateSettings(settings.config),
    sessionFolder: join(hostStatePath, id),
  })
  return { ...options, Entrypoint: [script.entrypoint] }
}

async function makeFolder(folder: string, word: string): Promise<void> {
  for (const path of [folder, join(folder, 'artifacts')]) {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await chmod(path, SHARED_DIRECTORY)
  }
  await writeFile(join(folder, WORD_FILE), `${word}\n`, { mode: 0o644 })
}

async function outcome(docker: Docker, id: string, signal: AbortSignal) {
  const late = AbortSignal.timeout(LIMIT_MS)
  try {
    await untilStopped(docker, id, AbortSignal.any([signal, late]))
  } catch (error) {
    // What it has said by then is read all the same.
    if (!late.aborted || signal.aborted) throw error
  }
  const { ExitCode } = stateOf(await within(docker, one => one.getContainer(id).inspect(), { signal }))
  const options = { stdout: true, stderr: true, follow: false, tail: OUTPUT_LINES } as const
  const raw = await within(docker, one => one.getContainer(id).logs(options), { signal })
  return { type: 'ran' as const, code: ExitCode, output: textOf(raw) }
}

const FRAME_HEADER_BYTES = 8

/** Both streams in frames: a byte for the stream, three of nothing, the length, the text. */
function textOf(raw: Buffer): string {
  let text = ''
  for (let at = 0; at + FRAME_HEADER_BYTES <= raw.length; ) {
    const end = at + FRAME_HEADER_BYTES + raw.readUInt32BE(at + 4)
    text += raw.toString('utf8', at + FRAME_HEADER_BYTES, end)
    at = end
  }
  return text
}

/** Looked at, never opened: what lies there is the image's doing. */
async function hasEcho(folder: string): Promise<boolean> {
  return lstat(join(folder, ECHO_FILE)).then(
    stat => stat.isFile(),
    () => false,
  )
}

async function removeContainer(docker: Docker, name: string): Promise<void> {
  try {
    await within(docker, one => one.getContainer(name).remove({ force: true, v: true }))
  } catch (error) {
    if (isNotFound(error)) return
    throw new Error(`the container ${name} could not be removed (${reasonOf(error)}): docker rm -f ${name}`)
  }
}

/**
 * Of doctors of this state directory that were killed, told by label, name, mount and age together.
 * @param nowMs wall clock, as the Engine's
 */
export async function removeLeftovers(
  { docker, settings, hostStatePath }: Pick<Bench, 'docker' | 'settings' | 'hostStatePath'>,
  nowMs: number,
): Promise<void> {
  const filters = { label: [`${LABELS.installation}=${INSTALLATION}`] }
  for (const row of await within(docker, one => one.listContainers({ all: true, filters }))) {
    const id = row.Labels[LABELS.session] ?? ''
    const isOurs =
      /^doctor-[0-9a-f]{12}$/.test(id) &&
      row.Names.includes(`/${containerName(id)}`) &&
      row.Mounts.some(({ Source }) => Source === join(hostStatePath, id))
    if (!isOurs || nowMs - row.Created * 1000 < LEFTOVER_AGE_MS) continue
    await removeContainer(docker, containerName(id))
    await rm(join(settings.config.RUNNER_STATE_DIR, id), { recursive: true, force: true })
  }
}
