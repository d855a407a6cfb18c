/** What a script said inside the container, line by line. A line of another form is somebody else's and is not heeded. */
export interface Inside {
  /** The options of the mount at a path. */
  readonly mounts: ReadonlyMap<string, string>
  readonly status: ReadonlyMap<string, string>
  readonly limits: ReadonlyMap<string, string>
  readonly sysctls: ReadonlyMap<string, string>
  /** By `host port`. */
  readonly reached: ReadonlyMap<string, Reach>
  /** Null where nothing there resolves names. */
  readonly resolved: boolean | null
  readonly word: string | null
  readonly userns: { readonly code: number; readonly said: string } | null
  /** The script came to its end. */
  readonly ended: boolean
}

export type Reach = 'open' | 'refused' | 'silent' | 'no route' | 'unknown'

export function readInside(output: string): Inside {
  const mounts = new Map<string, string>()
  const status = new Map<string, string>()
  const limits = new Map<string, string>()
  const sysctls = new Map<string, string>()
  const reached = new Map<string, Reach>()
  const maps: Readonly<Record<string, Map<string, string>>> = {
    mount: mounts,
    status,
    limit: limits,
    sysctl: sysctls,
  }
  let resolved: boolean | null = null
  let word: string | null = null
  let userns: Inside['userns'] = null
  let ended = false
  for (const line of output.split('\n')) {
    const [kind = '', first = '', second = '', ...rest] = line.trim().split(' ')
    if (kind === 'reach') {
      const [code = '', ...said] = rest
      reached.set(`${first} ${second}`, reachOf(Number(code), said.join(' ')))
    } else if (kind === 'resolved') resolved = first === 'yes'
    else if (kind === 'word') word = first
    else if (kind === 'userns') userns = { code: Number(first), said: [second, ...rest].join(' ').trim() }
    else if (kind === 'end') ended = true
    else maps[kind]?.set(first, second)
  }
  return { mounts, status, limits, sysctls, reached, resolved, word, userns, ended }
}

/** First match wins. The words are Node's, and those of busybox and of GNU. */
const WORDINGS: readonly (readonly [RegExp, Reach])[] = [
  [/ECONNREFUSED|refused/i, 'refused'],
  [
    /EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT|unreachable|no route|cannot assign|not supported/i,
    'no route',
  ],
  [/ETIMEDOUT|timed out|timeout|terminated/i, 'silent'],
]
const NOT_FOUND = 127
/** A program that a signal ended; here, the guard's that waited long enough. */
const SIGNALLED = 128

/** What is neither a success nor a known way to fail got as far as talking: it counts as reached. */
function reachOf(code: number, said: string): Reach {
  if (code === 0) return 'open'
  if (code === NOT_FOUND) return 'unknown'
  const known = WORDINGS.find(([wording]) => wording.test(said))
  if (known !== undefined) return known[1]
  return code > SIGNALLED || said === '' ? 'silent' : 'open'
}
