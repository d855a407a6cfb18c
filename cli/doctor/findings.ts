import type { Environment, Me, Pool } from '../../protocol/admin-api.ts'
import type { Attention } from '../../protocol/overview.ts'
import { VERSION } from '../../protocol/version.ts'
import { printable } from '../output/table.ts'
import { ago } from '../output/words.ts'

/** What is well and what is not, of what the control plane says. Each that is not names the way out. */

export type Outcome = 'ok' | 'warn' | 'fail'

export interface Finding {
  readonly name: string
  readonly outcome: Outcome
  readonly seen: string
  readonly remedy: string | null
}

const KEY_EXPIRES_SOON_MS = 7 * 86_400_000

export function ok(name: string, seen: string): Finding {
  return { name, outcome: 'ok', seen, remedy: null }
}

export function notWell(outcome: 'warn' | 'fail', name: string, seen: string, remedy: string): Finding {
  return { name, outcome, seen, remedy }
}

export function versionFinding(address: string, version: string): Finding {
  const seen = `${address} answers, release ${version}`
  if (version === VERSION) return ok('control plane', seen)
  const remedy = `this program is ${VERSION}: take the one of the control plane's release`
  return notWell('warn', 'control plane', seen, remedy)
}

const MAY: Readonly<Record<Me['key']['role'], string>> = {
  viewer: 'reads and watches',
  member: 'runs, cancels, watches and reads',
  admin: 'does everything',
}

export function keyFindings({ tenant, key, features }: Me, now: number): Finding[] {
  const who = `${printable(key.name)} of ${tenant.slug} ${MAY[key.role]} (${key.role})`
  const endsSoon = key.expires_at !== null && Date.parse(key.expires_at) - now < KEY_EXPIRES_SOON_MS
  return [
    endsSoon
      ? notWell(
          'warn',
          'key',
          `${who}; it expires ${ago(key.expires_at, now)}`,
          'have an admin make another: `certyn keys create`',
        )
      : ok('key', who),
    features.self_hosted_runners
      ? ok('self-hosted runners', 'on')
      : notWell(
          'fail',
          'self-hosted runners',
          'off for this tenant',
          'the operator sets Features__SelfHostedRunnersEnabled, and SelfHosted__EnabledTenants where it is not empty',
        ),
    features.self_hosted_relay
      ? ok('live view', 'on')
      : notWell(
          'warn',
          'live view',
          'off for this tenant',
          'the operator sets Features__SelfHostedRelayEnabled, and SelfHosted__RelayEnabledTenants where it is not empty',
        ),
  ]
}

export function poolFindings(pools: readonly Pool[]): Finding[] {
  if (pools.length === 0) {
    return [notWell('warn', 'pools', 'there is none', 'create one: `certyn pools create <name>`')]
  }
  return pools.map(pool => poolFinding(pool))
}

function poolFinding({ id, name, state, note, stats }: Pool): Finding {
  const title = `pool ${printable(name)}`
  const seen = `${stats.runners_online} of ${stats.runners_total} runners online, ${stats.slots_busy} of ${stats.slots_total} slots busy, ${stats.queued} queued`
  if (state === 'draining') {
    const why = note === null || note === '' ? '' : ` (${printable(note)})`
    return notWell(
      'warn',
      title,
      `${seen}; draining${why}`,
      `\`certyn pools resume ${id}\` lets it take work`,
    )
  }
  if (stats.runners_online > 0) return ok(title, seen)
  const remedy =
    stats.runners_total > 0
      ? `\`certyn runners list ${id}\`, then the log of a runner: \`docker logs certyn-runner\``
      : `\`certyn tokens create ${id}\` gives the command that starts a runner`
  return notWell(stats.queued > 0 ? 'fail' : 'warn', title, seen, remedy)
}

export function environmentFindings(environments: readonly Environment[]): Finding[] {
  const hosted = environments.filter(({ execution_target }) => execution_target === 'self_hosted')
  if (hosted.length > 0) {
    return [ok('environments', `${hosted.length} of ${environments.length} go to a pool`)]
  }
  const seen = environments.length === 0 ? 'there is none' : 'none goes to a pool'
  return [notWell('warn', 'environments', seen, '`certyn environments create <name> --pool <pool>`')]
}

/** @returns null for what the pools' own lines have said */
export function attentionFinding(one: Attention): Finding | null {
  switch (one.kind) {
    case 'no_runner_online':
      return null
    case 'runner_offline': {
      const seen = `offline since ${one.since ?? 'before anybody looked'}`
      const remedy = `look at its log, or \`certyn runners remove ${one.pool_id} ${one.runner_id}\``
      return notWell('warn', `runner ${printable(one.runner_name)}`, seen, remedy)
    }
    case 'version_behind': {
      const seen = `release ${printable(one.version)} is behind`
      const remedy = 'start it anew with the image of the control plane’s release'
      return notWell('warn', `runner ${printable(one.runner_name)}`, seen, remedy)
    }
    case 'token_expiring': {
      const title = `token ${printable(one.token_name || one.token_id)}`
      const remedy = `\`certyn tokens create ${one.pool_id}\` makes another`
      return notWell('warn', title, `expires at ${one.expires_at}`, remedy)
    }
    case 'runs_lost': {
      const remedy = `\`certyn runs events ${one.latest_run_id}\` tells how the latest was`
      return notWell('warn', 'runs', `${one.count} lost lately`, remedy)
    }
  }
}

const LABELS: Readonly<Record<Outcome, string>> = { ok: 'ok', warn: 'warn', fail: 'FAIL' }

/** For people: a line each, and below it what to do. */
export function linesOf({ name, outcome, seen, remedy }: Finding): string[] {
  const line = `${LABELS[outcome].padEnd(6)}${name}: ${seen}`
  return remedy === null ? [line] : [line, `      -> ${remedy}`]
}

export function isSound(findings: readonly Finding[]): boolean {
  return findings.every(({ outcome }) => outcome !== 'fail')
}
