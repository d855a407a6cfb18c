import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

/**
 * The directory's tables. Ids are UUIDv7-based, so `(tenant_id, id)` is both the tenant's partition and newest-first
 * order. Times are epoch milliseconds. Of a secret there is only its SHA-256 and the hint that lists show.
 */
export const tenants = sqliteTable('tenants', {
  id: text('id').primaryKey(),
  slug: text('slug').notNull().unique(),
  name: text('name').notNull(),
  createdAt: integer('created_at').notNull(),
})

export const apiKeys = sqliteTable(
  'api_keys',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    name: text('name').notNull(),
    role: text('role', { enum: ['viewer', 'member', 'admin'] }).notNull(),
    hash: text('hash').notNull().unique(),
    hint: text('hint').notNull(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at'),
    lastUsedAt: integer('last_used_at'),
    revokedAt: integer('revoked_at'),
  },
  table => [index('api_keys_by_tenant').on(table.tenantId, table.id)],
)

/** Who may sign in through Cloudflare Access. Somebody who was removed and comes back has another id. */
export const members = sqliteTable(
  'members',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    email: text('email').notNull(),
    role: text('role', { enum: ['viewer', 'member', 'admin'] }).notNull(),
    createdAt: integer('created_at').notNull(),
  },
  table => [
    index('members_by_tenant').on(table.tenantId, table.id),
    uniqueIndex('members_by_email').on(table.email, table.tenantId),
  ],
)

/**
 * A browser that somebody has signed in with. It stands on the key or the member it was made for and ends with it at
 * the latest; expired ones are kept for a while, so that the page can say what happened.
 */
export const browserSessions = sqliteTable(
  'browser_sessions',
  {
    hash: text('hash').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    /** Of a key or of a member. */
    holderId: text('holder_id').notNull(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
  },
  table => [index('browser_sessions_by_end').on(table.expiresAt)],
)

/** State, note and statistics of a pool live in its object; this row makes it the tenant's. */
export const pools = sqliteTable(
  'pools',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    name: text('name').notNull(),
    description: text('description').notNull(),
    createdAt: integer('created_at').notNull(),
  },
  table => [index('pools_by_tenant').on(table.tenantId, table.id)],
)

export const registrationTokens = sqliteTable(
  'registration_tokens',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    poolId: text('pool_id').notNull(),
    name: text('name').notNull(),
    hash: text('hash').notNull().unique(),
    hint: text('hint').notNull(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    maxUses: integer('max_uses'),
    uses: integer('uses').notNull(),
    lastUsedAt: integer('last_used_at'),
    revokedAt: integer('revoked_at'),
  },
  table => [
    index('registration_tokens_by_pool').on(table.tenantId, table.poolId, table.id),
    index('registration_tokens_by_end').on(table.tenantId, table.expiresAt),
  ],
)

/**
 * One row for each counted use. `runner_id` is null until the pool's object has answered: an open use belongs to the
 * process (name and boot id) that caused it, so its retry is not counted again.
 */
export const registrationTokenUses = sqliteTable(
  'registration_token_uses',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    tokenId: text('token_id').notNull(),
    runnerName: text('runner_name').notNull(),
    bootId: text('boot_id').notNull(),
    at: integer('at').notNull(),
    runnerId: text('runner_id'),
  },
  table => [index('registration_token_uses_by_process').on(table.tokenId, table.runnerName, table.bootId)],
)

export const environments = sqliteTable(
  'environments',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    name: text('name').notNull(),
    executionTarget: text('execution_target', { enum: ['self_hosted', 'cloud'] }).notNull(),
    poolId: text('pool_id'),
    defaultImage: text('default_image'),
    createdAt: integer('created_at').notNull(),
  },
  table => [
    index('environments_by_tenant').on(table.tenantId, table.id),
    index('environments_by_pool').on(table.tenantId, table.poolId),
  ],
)

/** Which run an Idempotency-Key stands for, kept for a day. */
export const idempotencyKeys = sqliteTable(
  'idempotency_keys',
  {
    tenantId: text('tenant_id').notNull(),
    key: text('key').notNull(),
    bodyHash: text('body_hash').notNull(),
    runId: text('run_id').notNull(),
    poolId: text('pool_id').notNull(),
    createdAt: integer('created_at').notNull(),
  },
  table => [
    primaryKey({ columns: [table.tenantId, table.key] }),
    index('idempotency_keys_by_age').on(table.tenantId, table.createdAt),
  ],
)

/** `tenant_id` is null where a refused credential belongs to no tenant that is known. */
export const auditEvents = sqliteTable(
  'audit_events',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id'),
    at: integer('at').notNull(),
    actor: text('actor').notNull(),
    action: text('action').notNull(),
    target: text('target').notNull(),
    address: text('address').notNull(),
    detail: text('detail').notNull(),
  },
  table => [index('audit_events_by_tenant').on(table.tenantId, table.id)],
)

/** Permission to watch one run, for whoever has the link. */
export const liveLinks = sqliteTable(
  'live_links',
  {
    id: text('id').primaryKey(),
    tenantId: text('tenant_id').notNull(),
    runId: text('run_id').notNull(),
    mode: text('mode', { enum: ['view', 'control'] }).notNull(),
    hash: text('hash').notNull().unique(),
    hint: text('hint').notNull(),
    maxViewers: integer('max_viewers').notNull(),
    createdBy: text('created_by').notNull(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    lastUsedAt: integer('last_used_at'),
    revokedAt: integer('revoked_at'),
  },
  table => [
    index('live_links_by_tenant').on(table.tenantId, table.id),
    index('live_links_by_run').on(table.tenantId, table.runId, table.id),
    index('live_links_by_end').on(table.expiresAt),
  ],
)

/** Which sessions' relays a key, a member or a link has opened. */
export const streamAdmissions = sqliteTable(
  'stream_admissions',
  {
    tenantId: text('tenant_id').notNull(),
    source: text('source').notNull(),
    sessionId: text('session_id').notNull(),
    at: integer('at').notNull(),
  },
  table => [
    primaryKey({ columns: [table.tenantId, table.source, table.sessionId] }),
    index('stream_admissions_by_age').on(table.at),
  ],
)
