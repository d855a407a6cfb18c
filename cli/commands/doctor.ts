import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import { HealthStatus, Me } from '../../protocol/admin-api.ts'
import { Overview } from '../../protocol/overview.ts'
import { VERSION } from '../../protocol/version.ts'
import { type ControlPlane, HEALTH } from '../api/control-plane.ts'
import { allEnvironments, allPools } from '../api/find.ts'
import {
  attentionFinding,
  environmentFindings,
  type Finding,
  isSound,
  keyFindings,
  linesOf,
  notWell,
  poolFindings,
  versionFinding,
} from '../doctor/findings.ts'
import { EXIT } from '../exit-codes.ts'
import { CommandFailure, linesOf as linesOfFailure } from '../failure.ts'
import type { Open } from '../session.ts'
import { examples } from './list.ts'

export function addDoctor(program: CommandUnknownOpts, open: Open): void {
  program
    .command('doctor')
    .description(
      'look for what keeps runs from running, with a remedy for each finding; ends with 1 if any fails',
    )
    .addHelpText('after', examples('certyn doctor', 'certyn doctor --json'))
    .action(async () => {
      const session = open()
      const { api, out } = session
      const findings: Finding[] = []
      for await (const found of examine(api)) {
        findings.push(...found)
        if (!out.isJson) out.print(...found.flatMap(linesOf))
      }
      const isWell = isSound(findings)
      out.show({ version: VERSION, ok: isWell, checks: findings }, () => [])
      if (!isWell) session.exitCode = EXIT.failed
    })
}

/** In the order in which one rests on the other: the first that cannot be asked is the last that is. */
async function* examine(api: ControlPlane): AsyncGenerator<Finding[]> {
  const steps: readonly (readonly [string, () => Promise<Finding[]>])[] = [
    [
      'control plane',
      async () => [versionFinding(api.address, (await api.get(HEALTH, HealthStatus)).version)],
    ],
    ['key', async () => keyFindings(await api.get('/me', Me), Date.now())],
    ['pools', async () => poolFindings(await allPools(api))],
    ['environments', async () => environmentFindings(await allEnvironments(api))],
    ['overview', async () => attentionFindings(await api.get('/overview', Overview))],
  ]
  for (const [name, look] of steps) {
    try {
      yield await look()
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error
      const [seen = '', ...rest] = linesOfFailure(error.failure).map(line => line.trim())
      yield [notWell('fail', name, seen, rest.join('; '))]
      return
    }
  }
}

function attentionFindings({ attention }: Overview): Finding[] {
  return attention.map(attentionFinding).filter(found => found !== null)
}
