import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ViewerTicket } from '../../protocol/live.ts'
import { STREAM_SUBPROTOCOL, TICKET_SUBPROTOCOL_PREFIX } from '../../protocol/stream.ts'
import { RUNNER_PROTOCOL, VERSION } from '../../protocol/version.ts'
import { mintId } from '../../worker/ids.ts'
import { FakeAgent } from '../runner/support/fake-agent.ts'
import { ControlPlane, type Tenant } from '../support/control-plane.ts'
import { startProgram } from '../support/process.ts'
import { Daemon, type DaemonOptions } from '../support/runner.ts'
import { until } from '../support/until.ts'
import { type Fields, type Rewrite, Wire } from './wire.ts'

/** A real runner and a real control plane, each of which seems to the other to be of another release. */
const controlPlane = new ControlPlane({
  Features__SelfHostedRelayEnabled: 'true',
  SelfHosted__LeaseTtlSeconds: '45',
})
let tenant: Tenant
let wire: Wire
let daemon: Daemon
beforeAll(async () => {
  await controlPlane.start()
  tenant = await controlPlane.tenant()
  wire = await Wire.to(controlPlane.url)
})
afterEach(() => daemon.end('SIGKILL'))
afterAll(async () => {
  await wire.close()
  await controlPlane.stop()
})

function newDaemon(name: string): Promise<Daemon> {
  const env = { CONTROL_PLANE_URL: wire.url, RUNNER_EXECUTOR: 'host' }
  return Daemon.of(controlPlane, tenant, { name, env } satisfies DaemonOptions)
}

/** Maps of the user's own, in which every name means something. */
const MAPS = ['labels', 'env']

/** The same, with something that nobody knows in every object. */
function withNovelties(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withNovelties)
  if (typeof value !== 'object' || value === null) return value
  const known = Object.entries(value).map(([name, item]) => [
    name,
    MAPS.includes(name) ? item : withNovelties(item),
  ])
  return { ...Object.fromEntries(known), novelty: { deep: [1] } }
}

function list(body: Fields, name: string): Fields[] {
  const items = body[name]
  return Array.isArray(items) ? items : []
}

describe('a newer runner with an older control plane, and the reverse', () => {
  test('work a run to its end, live view, log and artifacts with it, past every field and word they do not know', async () => {
    wire.toControlPlane = (call, body) => {
      const strange = withNovelties(body) as Fields
      if (call !== 'sync') return strange
      const leases = list(strange, 'leases').map(lease => ({
        ...lease,
        notices: ['warped'],
        ...(lease.state === 'starting' && { state: 'warming' }),
      }))
      return { ...strange, leases }
    }
    wire.toRunner = (call, body) => {
      const strange = withNovelties(body) as Fields
      if (call !== 'sync') return strange
      const nobody = mintId('session')
      return {
        ...strange,
        runner: { ...(strange.runner as Fields), state: 'resting' },
        offers: [{ session_id: mintId('session'), errand: {} }, ...list(strange, 'offers')],
        commands: [
          { id: mintId('command'), type: 'paint_it_blue', session_id: nobody },
          ...list(strange, 'commands'),
        ],
        leases: [{ session_id: nobody, verdict: 'ponder' }, ...list(strange, 'leases')],
      }
    }
    daemon = await newDaemon('stranger').then(one => one.online(tenant))
    const { id } = await tenant.run({
      image: 'docker.io/library/none:1',
      stream: true,
      command: [
        'sh',
        '-c',
        'echo hello; printf kept > "$CERTYN_ARTIFACTS_DIR/kept.txt"; while [ ! -e "$CERTYN_ARTIFACTS_DIR/go" ]; do sleep 0.1; done',
      ],
    })
    const running = await tenant.reaches(id, 'running')
    const folder = path.join(daemon.stateDir, 'sessions', running.session_id ?? '')
    const agent = await FakeAgent.listen(folder)
    const { url, ticket } = await tenant.api.post(
      `/runs/${id}/viewer-tickets`,
      { mode: 'view' },
      ViewerTicket,
    )
    const viewer = new WebSocket(url, [STREAM_SUBPROTOCOL, `${TICKET_SUBPROTOCOL_PREFIX}${ticket}`])
    const frames: Buffer[] = []
    viewer.on('message', (data: Buffer, isBinary) => isBinary && frames.push(data))
    await until('the agent is asked', () => agent.isWanted)
    wire.say('{"type":"tidings","novelty":1}')
    agent.send('{"type":"tidings","novelty":1}')
    agent.send('{"type":"hello","width":1280,"height":720,"novelty":1}')
    agent.frame(1)
    await until('a frame arrives', () => frames.length > 0)
    agent.frame(2)
    await until('another frame arrives', () => frames.length > 1)
    expect(agent.connections).toBe(1)
    expect(daemon.log().split('relay connected')).toHaveLength(2)
    expect(wire.texts.filter(({ text }) => text.includes('tidings'))).toEqual([])

    viewer.close()
    writeFileSync(path.join(folder, 'artifacts', 'go'), '')
    expect(await tenant.ends(id)).toMatchObject({ status: 'succeeded', exit_code: 0, attempt: 1 })
    const artifact = () => tenant.api.fetch(`/runs/${id}/artifacts/kept.txt`)
    await until('the artifact is there', async () => (await artifact()).ok)
    expect(await (await artifact()).text()).toBe('kept')
    expect(await (await tenant.api.fetch(`/runs/${id}/logs`)).text()).toBe('hello\n')
    expect(daemon.log()).toContain('the control plane is of a later release than this runner')
    const refused = wire.exchanges.filter(({ status }) => status >= 400)
    expect(refused.map(({ call, reply }) => `${call}: ${reply}`)).toEqual([])
  })
})

describe('a runner too old for its control plane', () => {
  const older: Rewrite = (call, body) =>
    ['register', 'sync'].includes(call) ? { ...body, protocol: RUNNER_PROTOCOL - 1 } : body
  const remedy = `speaks runner protocol ${RUNNER_PROTOCOL}, not ${RUNNER_PROTOCOL - 1}: start the runner of its release, v${VERSION}`

  async function expectUnhealthy(): Promise<void> {
    await until('the health file', () =>
      readFileSync(path.join(daemon.stateDir, 'health.json'), 'utf8').includes(remedy),
    )
    const env = {
      CONTROL_PLANE_URL: wire.url,
      RUNNER_POOL_ID: tenant.poolId,
      RUNNER_STATE_DIR: daemon.stateDir,
    }
    const health = startProgram('runner/main.ts', ['health'], env)
    expect((await health.exited).code).toBe(1)
    expect(health.output()).toContain(remedy)
    expect(daemon.hasEnded()).toBe(false)
  }

  test('is told at its registration which release to start', async () => {
    wire.toControlPlane = older
    wire.toRunner = (_, body) => body
    daemon = (await newDaemon('too-old')).start()
    await until('the log says so', () => daemon.log().includes('will not succeed until this is put right'))
    expect(daemon.log()).toContain(remedy)
    await expectUnhealthy()
    expect(wire.exchanges.at(-1)).toMatchObject({ call: 'register', status: 426 })
  })

  test('stops what it runs and says which release to start when the control plane leaves it behind', async () => {
    wire.toControlPlane = (_, body) => body
    wire.toRunner = (_, body) => body
    daemon = await newDaemon('left-behind').then(one => one.online(tenant))
    const { id } = await tenant.run({
      image: 'docker.io/library/none:1',
      command: ['sh', '-c', 'echo $$ > "$CERTYN_ARTIFACTS_DIR/pid"; exec sleep 600'],
      max_attempts: 1,
    })
    const { session_id } = await tenant.reaches(id, 'running')
    const pidFile = path.join(daemon.stateDir, 'sessions', session_id ?? '', 'artifacts', 'pid')
    const pid = await until('its process', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').trim())
    expect(existsSync(`/proc/${pid}`)).toBe(true)
    wire.toControlPlane = older
    wire.say('ring')
    await until('the log says so', () => daemon.log().includes('may no longer speak for the runner'))
    expect(daemon.log()).toContain(remedy)
    expect(daemon.log()).toContain('start the release that the message names')
    await until('the session has ended', () => !existsSync(`/proc/${pid}`))
    await expectUnhealthy()
    await tenant.cancel(id)
  })
})
