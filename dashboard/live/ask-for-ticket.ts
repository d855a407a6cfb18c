import type { Permission } from './permission.ts'

const ANSWER_LIMIT_MS = 5_000
/**
 * The picture has to be back within three seconds of whatever kept it away, so a call that may be lost is not waited
 * for; it may only be slow, so it is not given up either.
 */
const ASK_AGAIN_MS = 1_500

/** Why there was no answer: nobody was there, or nobody said anything for as long as one waits. */
export type NoAnswer = 'unreachable' | 'silent'

/**
 * Asks, and asks again beside the calls that hang. The first that comes to an end counts, and the others are given up.
 * @returns JSON that is still to be parsed; null for an answer that has none
 */
export async function askForTicket(
  runId: string,
  permission: Permission,
  stop: AbortSignal,
): Promise<{ readonly answer: unknown } | NoAnswer> {
  const others = new AbortController()
  const signal = AbortSignal.any([stop, others.signal])
  let again: ReturnType<typeof setInterval> | undefined
  try {
    return await new Promise(resolve => {
      const ask = () => void askOnce(runId, permission, signal).then(resolve)
      again = setInterval(ask, ASK_AGAIN_MS)
      ask()
    })
  } finally {
    clearInterval(again)
    others.abort()
  }
}

async function askOnce(runId: string, permission: Permission, stop: AbortSignal) {
  const [path, body] =
    permission.kind === 'link'
      ? ['/api/v1/live-links/exchange', { run_id: runId, link: permission.link }]
      : [`/api/v1/runs/${runId}/viewer-tickets`, { mode: permission.mode }]
  const limit = AbortSignal.timeout(ANSWER_LIMIT_MS)
  try {
    const response = await fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.any([stop, limit]),
    })
    return { answer: await response.json().catch(() => null) }
  } catch {
    return limit.aborted ? 'silent' : 'unreachable'
  }
}
