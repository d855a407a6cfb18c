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
export const LOG_CHUNK_LIMIT_BYTES = 1024 * 1024
export const ARTIFACT_PART_BYTES = 8 * 1024 * 1024
export const ARTIFACT_NAME_LIMIT_BYTES = 512
/** Of one session. */
export const ARTIFACT_COUNT_LIMIT = 1000
/** Of one artifact: videos fit, disk images do not. */
export const ARTIFACT_LIMIT_BYTES = 2 * 1024 * 1024 * 1024
/** Of all of one session's artifacts together. */
export const ARTIFACTS_TOTAL_LIMIT_BYTES = 8 * 1024 * 1024 * 1024
export const FRAME_LIMIT_BYTES = 2 * 1024 * 1024
