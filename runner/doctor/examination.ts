import { reasonOf } from '../log.ts'

/**
 * One check after another, each with what the ones before it have found. A check that needs what was not found is not
 * made: one cause is then one FAIL, and what merely follows from it says so.
 */
export type Outcome = 'ok' | 'warn' | 'fail' | 'skipped'

export interface Result {
  readonly name: string
  readonly outcome: Outcome
  /** What was seen; of a check that was not made, what it needs. */
  readonly seen: string
  /** What to do, where there is something to do. */
  readonly remedy: string | null
}

/** What a look found, with what later checks can use of it. */
export type Finding<T> =
  | { readonly outcome: 'ok'; readonly seen: string; readonly value: T }
  | { readonly outcome: 'warn'; readonly seen: string; readonly remedy: string; readonly value: T }
  | { readonly outcome: 'fail'; readonly seen: string; readonly remedy: string }
  | { readonly outcome: 'skipped'; readonly needs: string }

export interface Check<Have extends object, T> {
  readonly name: string
  readonly look: (have: Have, signal: AbortSignal) => Finding<T> | Promise<Finding<T>>
}

/** A check that was made, or left out; there is a value if it was ok or a warning. */
export type Checked<T> =
  | { readonly name: string; readonly sound: true; readonly value: T }
  | { readonly name: string; readonly sound: false }

type Needs<Have extends object> = { readonly [K in keyof Have]: Checked<Have[K]> }

export function ok(seen: string): Finding<null>
export function ok<T>(seen: string, value: T): Finding<T>
export function ok<T>(seen: string, value: T | null = null): Finding<T | null> {
  return { outcome: 'ok', seen, value }
}

export function warn(seen: string, remedy: string): Finding<null>
export function warn<T>(seen: string, remedy: string, value: T): Finding<T>
export function warn<T>(seen: string, remedy: string, value: T | null = null): Finding<T | null> {
  return { outcome: 'warn', seen, remedy, value }
}

export function fail(seen: string, remedy: string): Finding<never> {
  return { outcome: 'fail', seen, remedy }
}

export function skipped(needs: string): Finding<never> {
  return { outcome: 'skipped', needs }
}

const UNFORESEEN =
  'run the doctor again; if it says the same, report this line with the version of the runner'

export class Examination {
  readonly #signal: AbortSignal
  readonly #onResult: (result: Result) => void

  constructor(signal: AbortSignal, onResult: (result: Result) => void) {
    this.#signal = signal
    this.#onResult = onResult
  }

  /** @throws the signal's reason on abort, and what went wrong in cleaning up after it */
  async make<Have extends object, T>(check: Check<Have, T>, needs: Needs<Have>): Promise<Checked<T>> {
    this.#signal.throwIfAborted()
    const finding = await this.#find(check, needs)
    this.#signal.throwIfAborted()
    const seen = finding.outcome === 'skipped' ? `skipped (needs: ${finding.needs})` : finding.seen
    const remedy = 'remedy' in finding ? finding.remedy : null
    this.#onResult({ name: check.name, outcome: finding.outcome, seen, remedy })
    return 'value' in finding
      ? { name: check.name, sound: true, value: finding.value }
      : { name: check.name, sound: false }
  }

  async #find<Have extends object, T>(check: Check<Have, T>, needs: Needs<Have>): Promise<Finding<T>> {
    const have: Partial<Have> = {}
    const missing: string[] = []
    for (const key in needs) {
      const need = needs[key]
      if (need.sound) have[key] = need.value
      else missing.push(need.name)
    }
    if (missing.length > 0) return skipped(missing.join(', '))
    try {
      return await check.look(have as Have, this.#signal)
    } catch (error) {
      if (this.#signal.aborted) throw isAbort(error) ? this.#signal.reason : error
      return fail(reasonOf(error), UNFORESEEN)
    }
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError'
}
