import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { JOBS, node } from '../support/jobs.ts'
import { Daemon } from '../support/runner.ts'
import { until } from '../support/until.ts'

/** Every file below the folders that holds the text, as it is on disk after everything has stopped. */
function filesWith(text: string, folders: readonly string[]): string[] {
  const files = folders.flatMap(folder =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(entry => path.join(entry.parentPath, entry.name)),
  )
  return files.filter(file => readFileSync(file).includes(text))
}

test('secrets of every flow are in no log and in no file, but for what the runner must keep', async () => {
  const controlPlane = await new ControlPlane().start()
  const tenant: Tenant = await controlPlane.tenant()
  const token = await tenant.token()
  const canary = (name: string) => `canary-${name}-${crypto.randomUUID()}`
  const env = {
    done: canary('done'),
    failed: canary('failed'),
    cancelled: canary('cancelled'),
    never: canary('never'),
  }
  const daemon = await Daemon.of(controlPlane, tenant, {
    name: 'secrets',
    env: { RUNNER_EXECUTOR: 'host', REGISTRATION_TOKEN: token },
  })

  const waiting = await tenant.run({ command: JOBS.succeed, image: 'unused', env: { SECRET: env.cancelled } })
  await tenant.cancel(waiting.id)
  await daemon.online(tenant)
  const done = await tenant.run({ command: JOBS.succeed, image: 'unused', env: { SECRET: env.done } })
  const failing = node('process.exit(3)')
  const failed = await tenant.run({ command: failing, image: 'unused', env: { SECRET: env.failed } })
  const slow = node('setTimeout(() => {}, 600000)')
  const stopped = await tenant.run({ command: slow, image: 'unused', env: { SECRET: env.never } })
  await tenant.reaches(stopped.id, 'running')
  await tenant.cancel(stopped.id)
  for (const { id } of [waiting, done, failed, stopped]) await tenant.ends(id)
  await until('every slot is free', async () => (await tenant.pool()).stats.slots_busy === 0)
  const refused = await fetch(`${controlPlane.url}/api/v1/me`, {
    headers: { authorization: `Bearer ${token}` },
  })

  await daemon.end('SIGTERM')
  await controlPlane.stop()
  const logs = daemon.log() + controlPlane.output + (await refused.text())
  for (const secret of [...Object.values(env), token]) {
    expect(logs, 'a log or an error').not.toContain(secret)
    expect(filesWith(secret, [controlPlane.stateDir, daemon.stateDir]), 'a file').toEqual([])
  }
  const credential = /cty_run_[0-9A-Za-z]+/.exec(
    filesWith('cty_run_', [daemon.stateDir])
      .map(file => readFileSync(file, 'utf8'))
      .join(),
  )?.[0]
  if (credential === undefined) throw new Error('the runner has no credential')
  expect(logs).not.toContain(credential)
  expect(filesWith(credential, [controlPlane.stateDir])).toEqual([])
})
