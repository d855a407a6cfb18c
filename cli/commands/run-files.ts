import type { CommandUnknownOpts } from '@commander-js/extra-typings'
import type { z } from 'zod'
import { RunId, SessionId } from '../../protocol/ids.ts'
import { type Artifact, Artifacts } from '../../protocol/session-files.ts'
import type { ControlPlane } from '../api/control-plane.ts'
import { systemClock } from '../clock.ts'
import { CommandFailure } from '../failure.ts'
import { as } from '../input/values.ts'
import { listenForInterrupts } from '../interrupts.ts'
import { type Column, table } from '../output/table.ts'
import { size } from '../output/words.ts'
import { download } from '../runs/download.ts'
import { showLog, showLogAsItGrows } from '../runs/show-log.ts'
import type { Open } from '../session.ts'
import { examples } from './list.ts'

const SESSION = 'one attempt, as the run’s events name it; the last without it'

/** What a run leaves: its log and its artifacts. */
export function addRunFiles(runs: CommandUnknownOpts, open: Open): void {
  runs
    .command('logs')
    .description('print a run’s log, or follow it to the run’s end')
    .argument('<run>', 'id', as(RunId))
    .option('-f, --follow', 'while it grows; a lost connection is gone on with where it broke')
    .option('-t, --timestamps', 'each line with its time and stream')
    .option('--session <session>', SESSION, as(SessionId))
    .addHelpText('after', examples('certyn runs logs -f run_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async (runId, { follow, timestamps, session: sessionId }) => {
      const session = open()
      const { api, out } = session
      const wish = { runId, sessionId, timestamps: timestamps === true }
      if (!follow) return await showLog(api, out, wish)
      const interrupts = listenForInterrupts()
      await showLogAsItGrows(api, out, wish, interrupts.first)
      if (interrupts.first.aborted) session.exitCode = interrupts.exitCode
    })
  const artifacts = runs.command('artifacts').description('the files a run left behind')
  artifacts
    .command('list')
    .description('list a run’s artifacts')
    .argument('<run>', 'id', as(RunId))
    .option('--session <session>', SESSION, as(SessionId))
    .addHelpText('after', examples('certyn runs artifacts list run_01kb4yq3v8e9c9v3m2d0f4k6ha'))
    .action(async (runId, { session: sessionId }) => {
      const { api, out } = open()
      const found = await artifactsOf(api, runId, sessionId)
      out.show(found, () => table(COLUMNS, found.items, out.width))
    })
  artifacts
    .command('download')
    .description('bring a run’s artifacts, all or those that are named; each is checked against its SHA-256')
    .argument('<run>', 'id', as(RunId))
    .argument('[name...]', 'as the list shows them')
    .option('-o, --output <folder>', 'where to (a folder named like the run without it)')
    .option('--session <session>', SESSION, as(SessionId))
    .addHelpText(
      'after',
      examples('certyn runs artifacts download run_01kb4yq3v8e9c9v3m2d0f4k6ha screenshot.png -o out'),
    )
    .action(async (runId, names, { output, session: sessionId }) => {
      const { api, out } = open()
      const { items } = await artifactsOf(api, runId, sessionId)
      const brought: { name: string; file: string; size: number; sha256: string }[] = []
      for (const artifact of wantedOf(items, names)) {
        const parts = { open: opener(api, runId, sessionId), clock: systemClock }
        const { name, size: bytes, sha256 } = artifact
        brought.push({ name, file: await download(parts, artifact, output ?? runId), size: bytes, sha256 })
        out.note(`${brought.at(-1)?.file} (${size(bytes)})`)
      }
      out.show({ items: brought }, () => [`${brought.length} of ${items.length} brought`])
    })
}

const COLUMNS: readonly Column<Artifact>[] = [
  { title: 'NAME', of: artifact => artifact.name, isWhole: true },
  { title: 'SIZE', of: artifact => size(artifact.size) },
  { title: 'TYPE', of: artifact => artifact.content_type },
  { title: 'SHA-256', of: artifact => artifact.sha256 },
]

function artifactsOf(
  api: ControlPlane,
  runId: string,
  sessionId: string | undefined,
): Promise<z.output<typeof Artifacts>> {
  return api.get(`/runs/${runId}/artifacts`, Artifacts, { query: { session_id: sessionId } })
}

function wantedOf(items: readonly Artifact[], names: readonly string[]): readonly Artifact[] {
  const missing = names.find(name => !items.some(item => item.name === name))
  if (missing !== undefined) {
    const detail = `the run has no artifact ${JSON.stringify(missing)}`
    throw new CommandFailure({ kind: 'unknown_name', detail })
  }
  return names.length === 0 ? items : items.filter(({ name }) => names.includes(name))
}

function opener(api: ControlPlane, runId: string, sessionId: string | undefined) {
  return ({ name, sha256 }: Artifact, from: number) =>
    api.open(`/runs/${runId}/artifacts/${encodeURIComponent(name)}`, {
      query: { session_id: sessionId },
      headers: from === 0 ? {} : { range: `bytes=${from}-`, 'if-range': `"${sha256}"` },
    })
}
