import type Docker from 'dockerode'
import { z } from 'zod'
import type { Exit, ExitReason } from '../../../protocol/runner-api.ts'
import { backoffMs } from '../../api/backoff.ts'
import { sleep } from '../../clock.ts'
import type { Config } from '../../config.ts'
import { reasonOf } from '../../log.ts'
import { redactor } from '../../redaction.ts'
import type { PrepareHooks } from '../executor.ts'
import { classifyFailure } from './classify-failure.ts'
import { engineRefusal, isNotFound, within } from './engine.ts'
import type { RegistryAuth } from './registry-auth.ts'

export interface ImageFacts {
  readonly id: string
  readonly digest: string
  readonly user: string
  readonly labels: Readonly<Record<string, string>>
  /** Paths that the image wants outside its own file system. */
  readonly volumes: readonly string[]
}

const Inspected = z.object({
  Id: z.string(),
  RepoDigests: z.array(z.string()).nullish(),
  Config: z
    .object({
      User: z.string().nullish(),
      Labels: z.record(z.string(), z.string()).nullish(),
      Volumes: z.record(z.string(), z.unknown()).nullish(),
    })
    .nullish(),
})

/** Once a pull has begun its reply is a success; what goes wrong then is said among the progress. */
const PullFailed = z.object({ error: z.string() })

/** A pull whose registry has said nothing for so long has failed. */
const PULL_STALL_MS = 120_000
/** A registry that restarts is back within seconds; an attempt at the run is worth more than that. */
const PULL_TRIES = 3
const PULL_PAUSE_MS = 1_000
const PASSING: ReadonlySet<ExitReason> = new Set<ExitReason>(['pull_failed', 'network_unreachable'])

export class Images {
  readonly #docker: Docker
  readonly #policy: Config['RUNNER_PULL_POLICY']
  readonly #auth: RegistryAuth

  constructor(docker: Docker, policy: Config['RUNNER_PULL_POLICY'], auth: RegistryAuth) {
    this.#docker = docker
    this.#policy = policy
    this.#auth = auth
  }

  /** @returns the image, or why there is none. Throws when the Engine cannot be asked. */
  async obtain(reference: string, hooks: PrepareHooks): Promise<ImageFacts | { readonly exit: Exit }> {
    const present = this.#policy === 'always' ? null : await this.inspect(reference, hooks.signal)
    if (present !== null) return present
    if (this.#policy === 'never') {
      const message = `${reference} is not on this host and RUNNER_PULL_POLICY is never`
      return { exit: { code: null, reason: 'image_not_found', message } }
    }
    hooks.onPulling()
    const exit = await this.#pullPatiently(reference, hooks.signal)
    if (exit !== null) return { exit }
    const pulled = await this.inspect(reference, hooks.signal)
    return pulled ?? { exit: classifyFailure('pull', `${reference} was pulled and is not there`) }
  }

  /** @returns null when the Engine does not have it */
  async inspect(reference: string, signal?: AbortSignal): Promise<ImageFacts | null> {
    try {
      const image = Inspected.parse(
        await within(this.#docker, engine => engine.getImage(withTag(reference)).inspect(), { signal }),
      )
      return {
        id: image.Id,
        digest: digestFor(reference, image.RepoDigests ?? []) ?? image.Id,
        user: image.Config?.User ?? '',
        labels: image.Config?.Labels ?? {},
        volumes: Object.keys(image.Config?.Volumes ?? {}),
      }
    } catch (error) {
      if (isNotFound(error)) return null
      throw error
    }
  }

  /** @returns null on success, else why there is no image */
  async #pullPatiently(reference: string, signal: AbortSignal): Promise<Exit | null> {
    for (let tries = 1; ; tries++) {
      const problem = await this.#pull(reference, signal)
      if (problem === null) return null
      const exit = classifyFailure('pull', problem)
      if (tries === PULL_TRIES || !PASSING.has(exit.reason) || signal.aborted) return exit
      await sleep(PULL_PAUSE_MS + backoffMs(tries, 0, Math.random), signal)
    }
  }

  /** @returns null on success, else what the Engine or the registry said */
  async #pull(reference: string, signal: AbortSignal): Promise<string | null> {
    const stalled = new AbortController()
    const either = AbortSignal.any([signal, stalled.signal])
    const stall = setTimeout(() => stalled.abort(), PULL_STALL_MS)
    const authconfig = this.#auth(reference)
    // What is said of a pull goes to the control plane.
    const clean = redactor([authconfig?.password, authconfig?.identitytoken])
    try {
      const options = { abortSignal: either, ...(authconfig !== undefined && { authconfig }) }
      const stream = await this.#docker.pull(withTag(reference), options)
      return await new Promise<string | null>(resolve => {
        either.addEventListener('abort', () => resolve('i/o timeout: the registry stopped sending'), {
          once: true,
        })
        let problem: string | null = null
        this.#docker.modem.followProgress(
          stream,
          error => resolve(error === null ? problem : clean(reasonOf(error))),
          event => {
            stall.refresh()
            const failed = PullFailed.safeParse(event)
            if (failed.success) problem = clean(failed.data.error)
          },
        )
      })
    } catch (error) {
      const refusal = engineRefusal(error)
      if (refusal !== null) return clean(refusal.message)
      if (stalled.signal.aborted) return 'i/o timeout: the registry stopped sending'
      throw error
    } finally {
      clearTimeout(stall)
    }
  }
}

/** Without a tag the Engine would pull every tag there is. */
export function withTag(reference: string): string {
  const last = reference.slice(reference.lastIndexOf('/') + 1)
  return /[:@]/.test(last) ? reference : `${reference}:latest`
}

/** An image may have digests in several repositories; the one it was asked for by is the one to record. */
function digestFor(reference: string, digests: readonly string[]): string | null {
  const repository = reference.replace(/@.*$/, '').replace(/:[^:/]*$/, '')
  const own = digests.find(digest => digest.startsWith(`${repository}@`)) ?? digests[0]
  return own === undefined ? null : own.slice(own.indexOf('@') + 1)
}
