import { readFileSync } from 'node:fs'

/**
 * What a program has to know of the npm that started it. The scripts of package.json begin with `exec`, so
 * that npm is the parent itself: the shell in between would swallow the signals npm passes on.
 */
export function startedByNpm() {
  return process.env.npm_lifecycle_event !== undefined
}

/**
 * Calls back when npm is gone without having passed a signal on, as after kill -9.
 *
 * @param {() => void} gone
 */
export function followNpm(gone) {
  const npm = process.ppid
  setInterval(() => {
    if (process.ppid !== npm) gone()
  }, CHECK_MS).unref()
}

const CHECK_MS = 250

/**
 * The shell drops every variable it could not have assigned itself, names with a colon among them, which this
 * product's documents use. They are still in npm's own environment, where the system lets one read it.
 *
 * @returns {Record<string, string>}
 */
export function droppedByTheShell() {
  /** @type {Record<string, string>} */
  const found = {}
  for (const entry of environmentOfNpm()) {
    const at = entry.indexOf('=')
    const name = entry.slice(0, Math.max(at, 0))
    if (/^[A-Za-z0-9_]+:[A-Za-z0-9_:]+$/.test(name) && process.env[name] === undefined)
      found[name] = entry.slice(at + 1)
  }
  return found
}

function environmentOfNpm() {
  try {
    return readFileSync(`/proc/${process.ppid}/environ`, 'utf8').split('\0')
  } catch {
    return []
  }
}
