/**
 * Names that a job gave, made into names that are safe to show in terminals and pages. A name on disk is its bytes,
 * held here one character each; no two of a directory become the same.
 */
export const NAMES = 'latin1'

/** So much of a name is quoted in a log. */
const QUOTED_CHARS = 200

/** What moves a cursor, hides or reorders text, and what other systems take for a separator. */
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced
  /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\\]/g

export interface EntryName {
  readonly raw: string
  /** As it was meant, where it can be shown at all. */
  readonly shown: string
  readonly name: string
  readonly isChanged: boolean
}

/** @param raw names of one directory @returns the same for the same names, in the order of their bytes */
export function artifactNames(raw: readonly string[]): EntryName[] {
  const entries = raw.toSorted().map(one => {
    const shown = Buffer.from(one, NAMES).toString('utf8')
    const safe = shown.replaceAll(UNSAFE, '_')
    return { raw: one, shown, safe, isChanged: Buffer.from(safe).toString(NAMES) !== one }
  })
  const taken = new Set(entries.filter(entry => !entry.isChanged).map(({ safe }) => safe))
  const last = new Map<string, number>()
  return entries.map(({ raw, shown, safe, isChanged }) => {
    if (!isChanged) return { raw, shown, name: safe, isChanged }
    let name = safe
    for (let n = last.get(safe) ?? 1; taken.has(name); ) {
      n += 1
      last.set(safe, n)
      name = numbered(safe, n)
    }
    taken.add(name)
    return { raw, shown, name, isChanged }
  })
}

/** Before the ending, which tells the type. */
function numbered(name: string, n: number): string {
  const dot = name.lastIndexOf('.')
  return dot > 0 ? `${name.slice(0, dot)}~${n}${name.slice(dot)}` : `${name}~${n}`
}

export function quoted(name: string): string {
  return JSON.stringify(name.length > QUOTED_CHARS ? `${name.slice(0, QUOTED_CHARS)}…` : name)
}
