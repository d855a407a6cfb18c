import { text } from 'node:stream/consumers'
import type Docker from 'dockerode'
import { z } from 'zod'
import { parseJson } from '../../../protocol/json.ts'
import { type Clock, sleep } from '../../clock.ts'
import type { ExitFacts } from '../../session-types.ts'
import { exitFacts, stateOf } from './containers.ts'
import { EngineTimeout, engineRefusal, within } from './engine.ts'

/**
 * Whose doing an end was. An Engine stops its containers with itself, unless live restore is on, and a host that goes
 * down takes them along: their exit codes look like a test's own failure. The Engine's memory of events tells them
 * apart, because it is lost with the process: of what ended with an earlier one it knows nothing, and what it ended
 * itself, or for somebody else, it remembers to have killed.
 */

/** SIGKILL, SIGTERM, and what the Engine says of a container that it found dead. */
const CODES_OF_A_RESTART: ReadonlySet<number | null> = new Set([137, 143, 255])
const RESTARTED = 'the Docker Engine or the host was restarted while the session ran'
const KILLED =
  'the Docker Engine killed the container for something other than the runner, or while it was being stopped'

/** A listing waits for it. */
const EVENTS_TIMEOUT_MS = 10_000

const KILLED_CODE = 137
/** The Engine hears of an end and of the memory that ran out by two ways, and of the latter sometimes later. */
const MEMORY_LOOKS = 5
const MEMORY_PAUSE_MS = 200

const ContainerEvent = z.object({ Action: z.string() })

/**
 * To be asked with nothing of the runner's own under way: a stop or timeout names the end itself.
 * @throws when the Engine cannot be asked
 */
export async function withItsCause(
  docker: Docker,
  containerId: string,
  facts: ExitFacts,
  clock: Clock,
  signal?: AbortSignal,
): Promise<ExitFacts> {
  const { exit } = facts
  if (exit.reason !== 'exited' || !CODES_OF_A_RESTART.has(exit.code)) return facts
  const seen = await eventsOf(docker, containerId, clock, signal)
  if (seen === null) return facts
  if (seen.has('die') && !seen.has('kill')) {
    return exit.code === KILLED_CODE ? await withLateMemory(docker, containerId, facts, clock, signal) : facts
  }
  const message = seen.has('kill') ? KILLED : RESTARTED
  return { ...facts, exit: { code: exit.code, reason: 'engine_error', message } }
}

/** Of a container that neither the Engine nor anybody by way of it has killed. */
async function withLateMemory(
  docker: Docker,
  containerId: string,
  facts: ExitFacts,
  clock: Clock,
  signal?: AbortSignal,
): Promise<ExitFacts> {
  for (let look = 0; look < MEMORY_LOOKS && signal?.aborted !== true; look++) {
    await sleep(MEMORY_PAUSE_MS, signal)
    const made = await within(docker, engine => engine.getContainer(containerId).inspect(), { signal })
    const later = exitFacts(stateOf(made), clock)
    if (later.exit.reason === 'oom') return later
  }
  return facts
}

/** @returns null when the Engine does not say; it remembers some hundreds of events */
async function eventsOf(
  docker: Docker,
  containerId: string,
  clock: Clock,
  signal?: AbortSignal,
): Promise<ReadonlySet<string> | null> {
  const options = {
    since: 1,
    // Not to wait for more: a container says that it has ended only once its end is in the memory.
    until: clock.wallMs() / 1000,
    filters: { container: [containerId], event: ['die', 'kill'] },
  }
  try {
    const limits = { signal, timeoutMs: EVENTS_TIMEOUT_MS }
    const lines = await within(docker, async engine => text(await engine.getEvents(options)), limits)
    const events = lines.split('\n').map(line => {
      const json = parseJson(line)
      return ContainerEvent.safeParse(json.ok ? json.value : null).data?.Action
    })
    return new Set(events.filter(action => action !== undefined))
  } catch (error) {
    if (error instanceof EngineTimeout || engineRefusal(error) !== null) return null
    throw error
  }
}
