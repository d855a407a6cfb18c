/** Variables that look like settings of the runner and are none, most often a slip of the pen. */

export interface UnknownSetting {
  readonly name: string
  /** The setting that was perhaps meant. */
  readonly nearest: string
}

const PREFIX = /^RUNNER_/
/**
 * Kubernetes and Docker tell a container about its neighbours in variables that begin with the neighbour's name, so a
 * service called `runner` or `runner-...` brings some of these.
 */
const SERVICE_LINK =
  /_SERVICE_(?:HOST|PORT)(?:_\w+)?$|_PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?$|^RUNNER(?:_\w+)?_ENV_/

/** @param known every setting's name */
export function unknownSettings(
  env: Readonly<Record<string, string | undefined>>,
  known: readonly string[],
): UnknownSetting[] {
  return Object.entries(env)
    .filter(([name, value]) => value?.trim() && PREFIX.test(name) && !SERVICE_LINK.test(name))
    .filter(([name]) => !known.includes(name))
    .map(([name]) => ({ name, nearest: nearestOf(name, known) }))
}

/** Not every setting has the prefix, and adding it to one that has not is the likeliest slip. */
function nearestOf(name: string, known: readonly string[]): string {
  const distances = known.map(one => distance(name.replace(PREFIX, ''), one.replace(PREFIX, '')))
  return known[distances.indexOf(Math.min(...distances))] ?? ''
}

/** How many letters differ; a word left out, or one too many, counts as less than a single one. */
function distance(a: string, b: string): number {
  const isPart = `_${a}_`.includes(`_${b}_`) || `_${b}_`.includes(`_${a}_`)
  return isPart ? Math.abs(a.length - b.length) / (a.length + b.length) : editDistance(a, b)
}

/** Levenshtein's, by rows. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (const [index, letter] of [...a].entries()) {
    const next = [index + 1]
    for (const [at, other] of [...b].entries()) {
      const replaced = (row[at] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[at + 1] ?? 0) + 1, (next[at] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
