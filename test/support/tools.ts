import { spawnSync } from 'node:child_process'

/**
 * Whether programs that this project does not install are on this machine. With CERTYN_REQUIRE_TOOLS=1 their absence is
 * a failure; otherwise the tests that need them are listed as skipped.
 */
export function hasTools(...names: readonly string[]): boolean {
  const missing = names.filter(name => spawnSync('which', [name]).status !== 0)
  if (missing.length > 0 && process.env.CERTYN_REQUIRE_TOOLS === '1') {
    throw new Error(`CERTYN_REQUIRE_TOOLS=1, but there is no ${missing.join(', ')}`)
  }
  return missing.length === 0
}
