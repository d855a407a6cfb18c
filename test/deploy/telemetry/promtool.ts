import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { z } from 'zod'
import { exampleSeries } from './prometheus-names.ts'
import { FOLDER } from './rules-file.ts'

/** @returns what is wrong, or nothing */
export function promtool(...args: readonly string[]): string {
  try {
    execFileSync('promtool', args, { encoding: 'utf8', stdio: 'pipe' })
    return ''
  } catch (error) {
    const { stdout, stderr } = z.object({ stdout: z.string(), stderr: z.string() }).parse(error)
    return `${stdout}${stderr}`
  }
}

/** Has Prometheus evaluate the queries where everything that is exported rises. @returns those it has no answer for */
export function unanswered(queries: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'certyn-rules-'))
  try {
    copyFileSync(`${FOLDER}rules.yml`, join(folder, 'rules.yml'))
    writeFileSync(join(folder, 'test.yml'), stringify(askFor(queries)))
    return promtool('test', 'rules', join(folder, 'test.yml'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function askFor(queries: readonly string[]) {
  const asked = queries.map(query => ({
    expr: `count(${query}) > bool 0`,
    eval_time: '1h',
    exp_samples: [{ labels: '{}', value: 1 }],
  }))
  const tests = [{ interval: '30s', input_series: exampleSeries(), promql_expr_test: asked }]
  return { rule_files: ['rules.yml'], evaluation_interval: '30s', tests }
}
