/** @param share from 0 to 1 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export interface Goal {
  readonly goal: string
  readonly measured: string
  readonly anchor: string
  /** What is compared with the bound. */
  readonly figure: number
  readonly bound: string
  readonly isMet: boolean
}

export function table(goals: readonly Goal[]): string {
  const rows = goals.map(one => [
    one.goal,
    one.measured,
    one.anchor,
    one.figure.toFixed(2),
    one.bound,
    one.isMet ? 'yes' : 'NO',
  ])
  const lines = [
    ['goal', 'measured', 'anchor', 'figure', 'bound', 'met'],
    ['---', '---', '---', '---', '---', '---'],
    ...rows,
  ]
  return lines.map(cells => `| ${cells.join(' | ')} |`).join('\n')
}
