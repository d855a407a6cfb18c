import { sleep } from './clock.ts'

/** A loop that heeds its signal ends in far less; one that waits for an Engine that hangs is not waited for. */
export const STOP_LIMIT_MS = 1_000

/**
 * Runs the loops side by side. The first error stops all of them and is the one that is thrown; a loop that ends
 * without one leaves the others running. Once stopped, they have STOP_LIMIT_MS to end.
 */
export async function supervise(
  loops: readonly ((signal: AbortSignal) => Promise<unknown>)[],
  stop: AbortSignal,
): Promise<void> {
  const failed = new AbortController()
  const signal = AbortSignal.any([stop, failed.signal])
  let first: { error: unknown } | null = null
  const running = loops.map(async loop => {
    try {
      await loop(signal)
    } catch (error) {
      first ??= { error }
      failed.abort()
    }
  })
  await Promise.race([Promise.all(running), passedAfter(signal)])
  const thrown = first as { error: unknown } | null
  if (thrown !== null) throw thrown.error
}

async function passedAfter(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) {
    await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
  }
  await sleep(STOP_LIMIT_MS)
}
