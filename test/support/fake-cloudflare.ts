import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { buffer } from 'node:stream/consumers'
import { z } from 'zod'

/**
 * Cloudflare's API as far as wrangler calls it to deploy this repository: accounts, D1 (on a real SQLite), R2, one
 * subdomain, Workers with their assets and secrets. It keeps what it is given, so that a second deployment finds what
 * the first one left, and it refuses what is not known to it with Cloudflare's own codes.
 */
export interface Call {
  readonly method: string
  readonly path: string
  readonly authorization: string | undefined
  readonly body: Buffer
}

export interface Fault {
  readonly method: string
  readonly path: RegExp
  /** Only calls whose body has it. */
  readonly body?: RegExp
  readonly status: number
  readonly code: number
  readonly message: string
}

export interface FakeWorker {
  readonly secrets: Map<string, string>
  /** What was uploaded beside the code: bindings, migrations of objects. */
  metadata: Readonly<Record<string, unknown>>
  uploads: number
  /** How far the classes of its objects were migrated. */
  migrationTag: string | undefined
}

type Answer = { readonly result: unknown } | { readonly refusal: Omit<Fault, 'method' | 'path'> }
type Handler = (match: RegExpExecArray, call: Call) => Answer | Promise<Answer>

const SUBDOMAIN = 'acme'
const TOKEN = 'token-of-the-fake-cloudflare-0123456789'
const TAG = 'tag-of-the-worker'
/** Wrangler looks into it for nothing that matters here. */
const JWT = `e30.${Buffer.from('{}').toString('base64url')}.e30`
const Migrations = z.object({ old_tag: z.string().optional(), new_tag: z.string() })
const SecretsPatch = z.object({ secrets: z.record(z.string(), z.object({ text: z.string() })) })
const Manifest = z.record(z.string(), z.object({ hash: z.string() }))

export class FakeCloudflare {
  readonly token = TOKEN
  readonly calls: Call[] = []
  accounts = [{ id: '0123456789abcdef0123456789abcdef', name: 'Acme' }]
  readonly databases = new Map<string, { readonly name: string; readonly sqlite: DatabaseSync }>()
  readonly buckets = new Set<string>()
  readonly workers = new Map<string, FakeWorker>()
  /** Hashes of files it has, as the assets' store of an account does. */
  readonly assets = new Set<string>()
  /** Each is met once. */
  faults: Fault[] = []
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
    server.on('request', (request, response) => void this.#serve(request, response))
  }

  static async start(): Promise<FakeCloudflare> {
    const fake = new FakeCloudflare(createServer())
    await new Promise<void>(resolve => fake.#server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/client/v4`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
    for (const { sqlite } of this.databases.values()) sqlite.close()
  }

  /** Calls that change something; a query counts unless it only reads. */
  changes(from = 0): string[] {
    return this.calls.slice(from).flatMap(call => {
      const isQuery = call.path.endsWith('/query') && /^\{"sql":"SELECT\b/.test(String(call.body))
      const isRead = call.method === 'GET' || isQuery || call.path === '/graphql'
      return isRead ? [] : [`${call.method} ${call.path.replace(/\/accounts\/[0-9a-f]{32}/, '')}`]
    })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake')
    const call: Call = {
      method: request.method ?? 'GET',
      path: url.pathname.replace(/^\/client\/v4/, ''),
      authorization: request.headers.authorization,
      body: await buffer(request),
    }
    this.calls.push(call)
    const answer = await this.#answer(call).catch(error => refusal(400, 7500, String(error.message)))
    const isOk = 'result' in answer
    const body = {
      success: isOk,
      errors: isOk ? [] : [{ code: answer.refusal.code, message: answer.refusal.message }],
      messages: [],
      result: isOk ? answer.result : null,
      result_info: { page: 1, per_page: 50, count: 1, total_count: 1, total_pages: 1 },
    }
    response.writeHead(isOk ? 200 : answer.refusal.status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }

  async #answer(call: Call): Promise<Answer> {
    const isUpload = call.path.endsWith('/workers/assets/upload')
    if (!isUpload && call.authorization !== `Bearer ${TOKEN}`)
      return refusal(400, 9109, 'Invalid access token')
    const fault = this.faults.find(
      ({ method, path, body }) =>
        method === call.method && path.test(call.path) && (body?.test(call.body.toString('utf8')) ?? true),
    )
    if (fault !== undefined) {
      this.faults = this.faults.filter(other => other !== fault)
      return { refusal: fault }
    }
    for (const [method, pattern, handler] of this.#routes) {
      const match = method === call.method ? pattern.exec(call.path) : null
      if (match !== null) return handler(match, call)
    }
    return refusal(404, 7003, `Could not route to ${call.method} ${call.path}`)
  }

  readonly #routes: readonly (readonly [string, RegExp, Handler])[] = [
    ['GET', /^\/user$/, () => found({ id: 'user', email: 'ann@acme.example' })],
    ['GET', /^\/user\/tokens\/verify$/, () => found({ id: 'token', status: 'active' })],
    ['GET', /^\/accounts$/, () => found(this.accounts)],
    ['GET', /^\/memberships$/, () => found(this.accounts.map(account => ({ id: account.id, account })))],
    ['GET', /\/d1\/database$/, () => found(this.#listDatabases())],
    ['POST', /\/d1\/database$/, (_, { body }) => this.#createDatabase(fields(body))],
    ['GET', /\/d1\/database\/([^/]+)$/, ([, id]) => this.#database(id)],
    ['POST', /\/d1\/database\/([^/]+)\/query$/, ([, id], { body }) => this.#query(id, fields(body))],
    ['GET', /\/r2\/buckets\/([^/]+)$/, ([, name = '']) => this.#bucket(name)],
    ['POST', /\/r2\/buckets$/, (_, { body }) => this.#createBucket(fields(body))],
    // How much is in a bucket; a token need not be allowed to know.
    ['POST', /^\/graphql$/, () => found({})],
    ['GET', /\/workers\/subdomain$/, () => found({ subdomain: SUBDOMAIN })],
    ['GET', /\/workers\/services\/([^/]+)$/, ([, name]) => this.#service(name)],
    ['GET', /\/workers\/scripts\/([^/]+)\/secrets$/, ([, name]) => this.#listSecrets(name)],
    [
      'POST',
      /\/workers\/scripts\/[^/]+\/assets-upload-session$/,
      (_, { body }) => this.#openUpload(fields(body)),
    ],
    ['POST', /\/workers\/assets\/upload$/, (_, { body }) => this.#takeAssets(body)],
    ['PUT', /\/workers\/scripts\/([^/]+)$/, ([, name], { body }) => this.#upload(name, body)],
    ['POST', /\/workers\/scripts\/([^/]+)\/versions$/, ([, name], { body }) => this.#upload(name, body)],
    ['GET', /\/workers\/scripts\/([^/]+)\/deployments$/, ([, name]) => this.#deployments(name)],
    ['POST', /\/workers\/scripts\/([^/]+)\/deployments$/, () => found({ id: randomUUID() })],
    ['PATCH', /\/workers\/scripts\/([^/]+)\/script-settings$/, () => found({})],
    ['GET', /\/workers\/scripts\/([^/]+)\/settings$/, ([, name]) => this.#settings(name)],
    ['GET', /\/workers\/workers\/([^/]+)$/, ([, name]) => found({ name, subdomain: { enabled: true } })],
    ['POST', /\/workers\/scripts\/([^/]+)\/subdomain$/, (_, { body }) => found(fields(body))],
    ['PUT', /\/workers\/scripts\/([^/]+)\/schedules$/, (_, { body }) => found(JSON.parse(String(body)))],
    [
      'PATCH',
      /\/workers\/scripts\/([^/]+)\/secrets-bulk$/,
      ([, name], { body }) => this.#keepSecrets(name, body),
    ],
  ]

  #listDatabases() {
    return [...this.databases].map(([uuid, { name }]) => ({ uuid, name }))
  }

  #createDatabase({ name }: Readonly<Record<string, unknown>>): Answer {
    if (this.#listDatabases().some(database => database.name === name)) {
      return refusal(400, 7502, `Database with name '${name}' already exists`)
    }
    const uuid = randomUUID()
    this.databases.set(uuid, { name: String(name), sqlite: new DatabaseSync(':memory:') })
    return found({ uuid, name, version: 'production' })
  }

  #database(id = ''): Answer {
    const database = this.databases.get(id)
    if (database === undefined) return refusal(404, 7404, `The database ${id} could not be found`)
    return found({ uuid: id, name: database.name, version: 'production' })
  }

  #query(id = '', { sql }: Readonly<Record<string, unknown>>): Answer {
    const database = this.databases.get(id)
    if (database === undefined) return refusal(404, 7404, `The database ${id} could not be found`)
    return found(rowsOf(database.sqlite, String(sql)))
  }

  #bucket(name: string): Answer {
    if (!this.buckets.has(name)) return refusal(404, 10_006, 'The specified bucket does not exist.')
    return found({ name, creation_date: '2026-11-02T00:00:00Z', location: 'WEUR', storage_class: 'Standard' })
  }

  #createBucket({ name }: Readonly<Record<string, unknown>>): Answer {
    if (this.buckets.has(String(name)))
      return refusal(409, 10_004, 'The bucket you tried to create already exists')
    this.buckets.add(String(name))
    return found({})
  }

  #service(name = ''): Answer {
    const worker = this.workers.get(name)
    if (worker === undefined) return NO_WORKER
    const script = {
      tag: TAG,
      tags: null,
      last_deployed_from: 'wrangler',
      migration_tag: worker.migrationTag,
    }
    return found({ default_environment: { environment: 'production', script } })
  }

  /** Asks for the files it does not have yet. */
  #openUpload({ manifest }: Readonly<Record<string, unknown>>): Answer {
    const hashes = Object.values(Manifest.parse(manifest)).map(({ hash }) => hash)
    const missing = [...new Set(hashes)].filter(hash => !this.assets.has(hash))
    return found({ jwt: JWT, buckets: missing.length === 0 ? [] : [missing] })
  }

  #takeAssets(body: Buffer): Answer {
    for (const [, hash = ''] of body.toString('latin1').matchAll(/name="([0-9a-f]{32})"/g))
      this.assets.add(hash)
    return found({ jwt: JWT })
  }

  #upload(name = '', body: Buffer): Answer {
    const text = body.toString('latin1')
    const metadata = /name="metadata"\r\n\r\n(.*)\r\n/.exec(text)?.[1]
    if (metadata === undefined) return refusal(400, 10_021, 'the upload has no metadata')
    const worker = this.workers.get(name) ?? newWorker()
    worker.metadata = fields(Buffer.from(metadata, 'latin1'))
    const migrations = Migrations.safeParse(worker.metadata.migrations)
    if (migrations.success) {
      if (migrations.data.old_tag !== worker.migrationTag)
        return refusal(412, 10_079, 'Migration tag precondition failed')
      worker.migrationTag = migrations.data.new_tag
    }
    worker.uploads += 1
    this.workers.set(name, worker)
    const id = randomUUID()
    const resources = { script: { etag: 'etag' } }
    return found({
      id,
      tag: TAG,
      etag: 'etag',
      deployment_id: id.replaceAll('-', ''),
      startup_time_ms: 1,
      resources,
    })
  }

  #settings(name = ''): Answer {
    const worker = this.workers.get(name)
    return worker === undefined ? NO_WORKER : found({ bindings: worker.metadata.bindings })
  }

  #deployments(name = ''): Answer {
    return this.workers.has(name) ? found({ deployments: [] }) : NO_WORKER
  }

  #keepSecrets(name = '', body: Buffer): Answer {
    const worker = this.workers.get(name)
    if (worker === undefined) return NO_WORKER
    const { secrets } = SecretsPatch.parse(fields(body))
    for (const [secret, { text }] of Object.entries(secrets)) worker.secrets.set(secret, text)
    return found({})
  }

  #listSecrets(name = ''): Answer {
    const worker = this.workers.get(name)
    if (worker === undefined) return NO_WORKER
    return found([...worker.secrets.keys()].map(secret => ({ name: secret, type: 'secret_text' })))
  }
}

function newWorker(): FakeWorker {
  return { secrets: new Map(), metadata: {}, uploads: 0, migrationTag: undefined }
}

const NO_WORKER = refusal(404, 10_007, 'This Worker does not exist on your account.')

function rowsOf(sqlite: DatabaseSync, sql: string) {
  const meta = { duration: 1, rows_read: 0, rows_written: 0 }
  const isOne = /^\s*(?:SELECT|PRAGMA)\b[^;]*;?\s*$/i.test(sql)
  if (isOne) return [{ success: true, meta, results: sqlite.prepare(sql).all() }]
  // As D1 does: all of it or nothing.
  sqlite.exec('BEGIN')
  try {
    sqlite.exec(sql)
    sqlite.exec('COMMIT')
  } catch (error) {
    sqlite.exec('ROLLBACK')
    throw error
  }
  return [{ success: true, meta, results: [] }]
}

function found(result: unknown): Answer {
  return { result }
}

function refusal(status: number, code: number, message: string): Answer {
  return { refusal: { status, code, message } }
}

function fields(body: Buffer): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(body.toString('utf8'))
  return typeof value === 'object' && value !== null ? { ...value } : {}
}
