import type { Answer, Call, FakeEngine } from './fake-engine.ts'

const NEVER = '0001-01-01T00:00:00Z'
const NETWORK = { Options: { 'com.docker.network.bridge.enable_icc': 'false' } }

export interface FakeContainer {
  readonly Id: string
  readonly name: string
  readonly asked: Readonly<Record<string, unknown>>
  status: 'created' | 'running' | 'exited'
  startedAt: string
  finishedAt: string
}

/** A fake Engine that has every image and keeps containers, as far as the runner looks at them. */
export class ContainerEngine {
  readonly containers = new Map<string, FakeContainer>()
  /** Asked first; what it answers null to is answered as usual. */
  before: (...call: Parameters<Answer>) => ReturnType<Answer> | null = () => null
  #made = 0

  constructor(engine: FakeEngine) {
    engine.answer = (path, method, call) => this.before(path, method, call) ?? this.#usual(path, method, call)
  }

  #usual(path: string, method: string, call: Call): ReturnType<Answer> {
    if (path.startsWith('/images/')) return { status: 200, body: { Id: 'sha256:1', Config: {} } }
    if (path.startsWith('/networks/')) return { status: 200, body: NETWORK }
    if (path === '/containers/json') return { status: 200, body: [...this.containers.values()].map(rowOf) }
    if (path === '/containers/create') return this.#create(call)
    const [, , key = '', verb = ''] = path.split('/')
    const container = [...this.containers.values()].find(({ Id, name }) => Id === key || name === key)
    if (container === undefined) return { status: 404, body: { message: 'No such container' } }
    return this.#onContainer(container, method === 'DELETE' ? 'remove' : verb)
  }

  #create({ query, body }: Call): ReturnType<Answer> {
    this.#made += 1
    const Id = String(this.#made).repeat(64).slice(0, 64)
    const made = { Id, name: query.get('name') ?? '', asked: body as FakeContainer['asked'] }
    this.containers.set(Id, { ...made, status: 'created', startedAt: NEVER, finishedAt: NEVER })
    return { status: 201, body: { Id } }
  }

  /** As by a start that nobody may have asked for. */
  run(container: FakeContainer): void {
    const startedAt = new Date().toISOString()
    this.containers.set(container.Id, { ...container, status: 'running', startedAt })
  }

  #onContainer(container: FakeContainer, verb: string): ReturnType<Answer> {
    switch (verb) {
      case 'json':
        return { status: 200, body: inspected(container) }
      case 'start':
        this.run(container)
        return { status: 204, body: null }
      case 'kill':
        if (container.status !== 'running') return { status: 409, body: { message: 'is not running' } }
        container.status = 'exited'
        container.finishedAt = new Date().toISOString()
        return { status: 204, body: null }
      case 'remove':
        this.containers.delete(container.Id)
        return { status: 204, body: null }
      default:
        return 'hang'
    }
  }
}

function labelsOf({ asked }: FakeContainer): unknown {
  return asked.Labels
}

function rowOf(container: FakeContainer) {
  const { Id, name, status } = container
  return { Id, Names: [`/${name}`], Labels: labelsOf(container), Created: 0, State: status, Status: status }
}

function inspected(container: FakeContainer) {
  const { Id, name, asked, status } = container
  const HostConfig = asked.HostConfig as { Mounts: readonly { Type: string; Target: string }[] }
  return {
    Id,
    Name: `/${name}`,
    Image: asked.Image,
    Config: asked,
    HostConfig,
    Mounts: HostConfig.Mounts.map(({ Type, Target }) => ({ Type, Destination: Target })),
    State: {
      Status: status,
      ExitCode: status === 'exited' ? 137 : 0,
      StartedAt: container.startedAt,
      FinishedAt: container.finishedAt,
    },
  }
}
