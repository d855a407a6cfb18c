import { DurableObject } from 'cloudflare:workers'
import { accepted } from '../../protocol/errors.ts'

export { SessionRelay } from '../../durable-objects/session-relay/object.ts'

/** The anchor: what the platform costs when an object does nothing but hand bytes on. */
export class BareForward extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const { 0: client, 1: server } = new WebSocketPair()
    this.ctx.acceptWebSocket(server, [new URL(request.url).pathname.slice(1)])
    return new Response(null, { status: 101, webSocket: client })
  }

  override async webSocketMessage(_from: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (typeof message === 'string') return
    for (const viewer of this.ctx.getWebSockets('viewer')) viewer.send(message)
  }
}

/** Stands where the pool's object stands: every session lives. */
export class AlwaysLive extends DurableObject {
  async streamChanged() {
    return accepted({ live: true })
  }
}

interface Env {
  readonly BARE: DurableObjectNamespace
  readonly SESSION_RELAY: {
    getByName(name: string): {
      fetch(request: Request): Promise<Response>
      admit(grant: object): Promise<unknown>
    }
  }
}

/** `/bare/<name>/<role>` and `/relay/<name>/<role>`: an upgrade, admitted without asking. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, kind, name = '', role = ''] = new URL(request.url).pathname.split('/')
    if (kind === 'bare') {
      return await env.BARE.getByName(name).fetch(new Request(`https://bare/${role}`, request))
    }
    const relay = env.SESSION_RELAY.getByName(name)
    const identity = { tenant_id: 'ten', pool_id: 'pol', run_id: 'run', session_id: name, runner_id: 'rnr' }
    const headers = new Headers({ upgrade: 'websocket', 'x-certyn-relay-role': role })
    if (role === 'publisher') {
      headers.set('x-certyn-relay-identity', JSON.stringify(identity))
    } else {
      const ticket_hash = crypto.randomUUID()
      const grant = { ...identity, ticket_hash, mode: 'control', expires_at: Date.now() + 30_000 }
      await relay.admit({ ...grant, source: 'key', source_expires_at: null, source_max_viewers: null })
      headers.set('x-certyn-ticket-hash', ticket_hash)
      headers.set('x-certyn-run-id', 'run')
    }
    return await relay.fetch(new Request('https://relay/', { headers }))
  },
}
