/** Times and sizes as people read them. */

const UNITS = [
  { letter: 'd', seconds: 86_400 },
  { letter: 'h', seconds: 3600 },
  { letter: 'm', seconds: 60 },
] as const

/** The two largest units: `2d 3h`, `4m 10s`, `8s`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const at = UNITS.findIndex(unit => whole >= unit.seconds)
  const unit = UNITS[at]
  if (unit === undefined) return `${whole}s`
  const next = UNITS[at + 1] ?? { letter: 's', seconds: 1 }
  const rest = Math.floor((whole % unit.seconds) / next.seconds)
  const first = `${Math.floor(whole / unit.seconds)}${unit.letter}`
  return rest === 0 ? first : `${first} ${rest}${next.letter}`
}

/** @param at RFC 3339, or null for never @param now epoch milliseconds */
export function ago(at: string | null, now: number): string {
  if (at === null) return 'never'
  const seconds = (now - Date.parse(at)) / 1000
  return seconds < 0 ? `in ${duration(-seconds)}` : `${duration(seconds)} ago`
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB'] as const

export function size(bytes: number): string {
  const power = Math.min(SIZES.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 ? value : value.toFixed(1)} ${SIZES[power]}`
}

export function pairs(record: Readonly<Record<string, string>>): string {
  return Object.entries(record)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}

export function orDash(text: string | number | null): string {
  return text === null || text === '' ? '-' : String(text)
}

/** As a shell would take it again. */
export function commandLine(words: readonly string[]): string {
  return words
    .map(word => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ')
}
