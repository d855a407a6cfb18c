/** Sizes the contract promises. Every one is enforced at a boundary, so state can rely on it. */
export const BODY_LIMIT_BYTES = 256 * 1024
export const ENV_LIMIT_BYTES = 64 * 1024
export const JSON_DEPTH_LIMIT = 16
export const COMMAND_LIMIT_ITEMS = 256
export const LABEL_LIMIT_ITEMS = 32
export const LABEL_LIMIT_CHARS = 63
export const NAME_LIMIT_CHARS = 100
export const NOTE_LIMIT_CHARS = 500
export const PAGE_DEFAULT = 50
export const PAGE_MAX = 200
/** Pools carry live statistics, one object call each, so their pages stay short. */
export const POOL_PAGE_MAX = 50
/** More than any real host runs; bounds the body of a sync. */
export const SLOT_LIMIT = 256
/** A sync lists what the runner holds plus what still waits for `forget`. */
export const SYNC_LEASE_LIMIT = 1024
export const SYNC_ACK_LIMIT = 1024
