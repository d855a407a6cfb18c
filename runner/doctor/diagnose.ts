import { hostId } from '../daemon/engine-setup.ts'
import { type Engine, engine } from './engine/engine.ts'
import { engineLimits } from './engine/limits.ts'
import { stateMount } from './engine/state-mount.ts'
import { type Check, type Checked, type Examination, skipped } from './examination.ts'
import { disk } from './host/disk.ts'
import { fileSystem } from './host/file-system.ts'
import { runnerProcess } from './host/runner-process.ts'
import { type Settings, settingsCheck } from './host/settings.ts'
import { sharedMemory } from './host/shared-memory.ts'
import { type StatePlace, stateDirectory } from './host/state-directory.ts'
import { statePrivacy } from './host/state-privacy.ts'
import { credentialCheck } from './identity/credential.ts'
import { membership } from './identity/membership.ts'
import { registrationToken } from './identity/registration-token.ts'
import { browserSandbox } from './job/browser-sandbox.ts'
import { jobImageCheck } from './job/image.ts'
import { jobContainer } from './job/job-container.ts'
import { jobSharedMemory } from './job/job-shared-memory.ts'
import { jobNetwork } from './job/network.ts'
import { jobDns, jobGateway, jobMetadata } from './job/reachability.ts'
import { clock } from './network/clock.ts'
import { connection } from './network/connection.ts'
import { controlPlane } from './network/control-plane.ts'
import { dns } from './network/dns.ts'
import { proxy } from './network/proxy.ts'
import { tls } from './network/tls.ts'
import type { Reply } from './network/way.ts'
import { websocket } from './network/websocket.ts'

/** What a runner on this host needs, from its settings to the inside of a job. @param image to try a job with */
export async function diagnose(
  examination: Examination,
  env: Readonly<Record<string, string | undefined>>,
  image: string | null,
): Promise<void> {
  const settings = await examination.make(settingsCheck(env), {})
  const state = await examination.make(stateDirectory, { settings })
  await examination.make(statePrivacy, { state })
  await examination.make(fileSystem, { state })
  await examination.make(disk, { settings, state })
  await examination.make(runnerProcess, { state })
  const reply = await theNetwork(examination, settings)
  if (settings.sound && settings.value.config.RUNNER_EXECUTOR === 'host') {
    await examination.make(sharedMemory, {})
    await theMembership(examination, { settings, state, reply }, hostId())
    await examination.make(noJob('RUNNER_EXECUTOR=docker'), {})
    return
  }
  const docker = await examination.make(engine, { settings })
  await examination.make(engineLimits, { engine: docker })
  const mount = await examination.make(stateMount, { state, engine: docker })
  await theMembership(
    examination,
    { settings, state, reply },
    docker.sound ? docker.value.facts.engineId : null,
  )
  if (image === null) await examination.make(noJob('an image your runs use: doctor --image <image>'), {})
  else await theJob(examination, { settings, engine: docker, hostStatePath: mount }, image)
}

async function theNetwork(examination: Examination, settings: Checked<Settings>): Promise<Checked<Reply>> {
  const resolved = await examination.make(dns, { settings })
  const proxied = await examination.make(proxy, { way: resolved })
  const connected = await examination.make(connection, { way: proxied })
  const secured = await examination.make(tls, { way: connected })
  const reply = await examination.make(controlPlane, { way: secured })
  await examination.make(clock, { reply })
  await examination.make(websocket, { settings, reply })
  return reply
}

async function theMembership(
  examination: Examination,
  needs: {
    readonly settings: Checked<Settings>
    readonly state: Checked<StatePlace>
    readonly reply: Checked<Reply>
  },
  engineId: string | null,
): Promise<void> {
  const { settings, state, reply } = needs
  const credential = await examination.make(credentialCheck(engineId), { settings, state })
  await examination.make(membership, { settings, reply, credential })
  await examination.make(registrationToken, { settings, credential })
}

async function theJob(
  examination: Examination,
  needs: {
    readonly settings: Checked<Settings>
    readonly engine: Checked<Engine>
    readonly hostStatePath: Checked<string>
  },
  reference: string,
): Promise<void> {
  const { settings, engine } = needs
  const image = await examination.make(jobImageCheck(reference), { settings, engine })
  const network = await examination.make(jobNetwork, { settings, engine })
  const container = await examination.make(jobContainer, { ...needs, image, network })
  await examination.make(jobSharedMemory, { container })
  await examination.make(jobDns, { container })
  await examination.make(jobMetadata, { container, network })
  await examination.make(jobGateway, { container, network })
  await examination.make(browserSandbox, { container })
}

function noJob(needs: string): Check<object, null> {
  return { name: 'job container', look: () => skipped(needs) }
}
