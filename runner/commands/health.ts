import { join } from 'node:path'
import { kernelBootId, systemClock } from '../clock.ts'
import { readConfig } from '../config.ts'
import { HEALTH_STALE_MS, HealthFile } from '../daemon/health.ts'
import { readJsonFile } from '../state/files.ts'

/** `runner health`: asks what the daemon last wrote about itself. @returns whether it is well */
export function health(print: (line: string) => void): boolean {
  const said = readHealth(readConfig(process.env).RUNNER_STATE_DIR)
  if (said === null) {
    print('unhealthy: no runner is alive in this state directory')
    return false
  }
  print(said.healthy ? 'healthy' : `unhealthy: ${said.reason}`)
  return said.healthy
}

/** @returns what a daemon that is alive says of itself; null when none is */
export function readHealth(stateDirectory: string): HealthFile | null {
  const file = readJsonFile(join(stateDirectory, 'health.json'), HealthFile)
  const ageMs = systemClock.now() - (file?.at_ms ?? 0)
  return file === null || file.kernel !== kernelBootId() || ageMs > HEALTH_STALE_MS || ageMs < 0 ? null : file
}
