import { diagnose } from '../../../runner/doctor/diagnose.ts'
import { Examination, type Result } from '../../../runner/doctor/examination.ts'

/** What the doctor finds with these settings, by the names of its checks. Its printing is left out. */
export async function examine(
  env: Readonly<Record<string, string>>,
  image: string | null = null,
  signal = new AbortController().signal,
): Promise<ReadonlyMap<string, Result>> {
  const results = new Map<string, Result>()
  await diagnose(new Examination(signal, result => results.set(result.name, result)), env, image)
  return results
}

/** The outcomes of some checks, in the order asked for: one line to compare. */
export function outcomes(results: ReadonlyMap<string, Result>, names: readonly string[]): string {
  return names.map(name => `${name} ${results.get(name)?.outcome ?? 'missing'}`).join(', ')
}
