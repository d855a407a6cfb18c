import { join } from 'node:path'
import { kernelBootId, systemClock } from '../clock.ts'
import { readConfig } from '../config.ts'
import { HEALTH_STALE_MS, HealthFile } from '../daemon/health.ts'
import { readJsonFile } from '../state/files.ts'

/** `runner health`: asks what the daemon last wrote about itself. @returns whether it is well */
export function health(print: (line: string) => void): boolean {
  const config = readConfig(process.env)
  const file = readJsonFile(join(config.RUNNER_STATE_DIR, 'health.json'), HealthFile)
  const ageMs = systemClock.now() - (file?.at_ms ?? 0)
  if (file === null || file.kernel !== kernelBootId() || ageMs > HEALTH_STALE_MS || ageMs < 0) {
    print('unhealthy: no runner is alive in this state directory')
    return false
  }
  print(file.healthy ? 'healthy' : `unhealthy: ${file.reason}`)
  return file.healthy
}
