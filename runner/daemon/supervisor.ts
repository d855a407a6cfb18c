/**
 * Runs the loops side by side. The first error stops all of them and is the one that is thrown; a loop that ends
 * without one leaves the others running.
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
  await Promise.all(running)
  const thrown = first as { error: unknown } | null
  if (thrown !== null) throw thrown.error
}
