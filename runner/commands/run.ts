import { VERSION } from '../../protocol/version.ts'
import { systemClock } from '../clock.ts'
import { readConfig, SETTING_NAMES } from '../config.ts'
import { type DaemonParts, runDaemon } from '../daemon/daemon.ts'
import { listenForStop } from '../daemon/shutdown.ts'
import { listenForUnexpected } from '../daemon/unexpected.ts'
import { closeLog, createLog, standardOutput } from '../log.ts'
import { readPolicy } from '../policy.ts'
import { StateDirectory } from '../state/state-directory.ts'
import { startTelemetry } from '../telemetry/telemetry.ts'
import { unknownSettings } from '../unknown-settings.ts'

/** `runner`: the daemon, until it is told to stop. */
export async function run(ownCommand: readonly [string, ...string[]]): Promise<void> {
  const config = readConfig(process.env)
  const policy = readPolicy(config.RUNNER_POLICY_FILE)
  const output = standardOutput()
  const log = createLog(config.LOG_LEVEL, output)
  listenForUnexpected(log, output)
  try {
    await daemon({ config, policy, log, ownCommand })
  } finally {
    await closeLog(output)
  }
}

async function daemon(parts: Pick<DaemonParts, 'config' | 'policy' | 'log' | 'ownCommand'>): Promise<void> {
  const { config, log } = parts
  log.info(
    {
      version: VERSION,
      control_plane: config.CONTROL_PLANE_URL.href,
      pool_id: config.RUNNER_POOL_ID,
      name: config.RUNNER_NAME,
      slots: config.MAX_CONCURRENCY,
      executor: config.RUNNER_EXECUTOR,
    },
    'starting',
  )
  for (const unknown of unknownSettings(process.env, SETTING_NAMES)) {
    log.warn(unknown, 'there is no such setting, so it changes nothing; perhaps the nearest is meant')
  }
  const signals = listenForStop(log)
  const state = await StateDirectory.open(config.RUNNER_STATE_DIR)
  try {
    const telemetry = await startTelemetry(config, log)
    try {
      await runDaemon({ ...parts, state, clock: systemClock, signals, metrics: telemetry.metrics })
    } finally {
      await telemetry.close()
    }
    log.info('stopped')
  } finally {
    state.release()
  }
}
