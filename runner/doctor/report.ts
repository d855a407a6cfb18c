import { VERSION } from '../../protocol/version.ts'
import type { Outcome, Result } from './examination.ts'

const LABELS: Readonly<Record<Outcome, string>> = { ok: 'ok', warn: 'warn', fail: 'FAIL', skipped: '-' }
const LABEL_WIDTH = 6

/** For people: one line per check, and below it what to do. */
export function linesOf({ name, outcome, seen, remedy }: Result): string[] {
  const indent = ' '.repeat(LABEL_WIDTH)
  const line = `${LABELS[outcome].padEnd(LABEL_WIDTH)}${name}: ${seen.replaceAll('\n', `\n${indent}`)}`
  return remedy === null ? [line] : [line, `${indent}-> ${remedy.replaceAll('\n', `\n${indent}   `)}`]
}

export function isSound(results: readonly Result[]): boolean {
  return results.every(({ outcome }) => outcome !== 'fail')
}

export function summaryOf(results: readonly Result[]): string {
  const count = countsOf(results)
  const counts = `${count.fail} failed, ${count.warn} to look at, ${count.ok} ok, ${count.skipped} skipped`
  const first = results.find(({ outcome }) => outcome === 'fail')
  return first === undefined ? `nothing failed: ${counts}` : `${counts}; begin with: ${first.name}`
}

/** For programs. */
export function documentOf(results: readonly Result[]) {
  return { version: VERSION, ok: isSound(results), counts: countsOf(results), checks: results }
}

function countsOf(results: readonly Result[]): Readonly<Record<Outcome, number>> {
  const count = { ok: 0, warn: 0, fail: 0, skipped: 0 }
  for (const { outcome } of results) count[outcome] += 1
  return count
}
