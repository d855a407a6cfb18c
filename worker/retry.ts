const FIRST_DELAY_MS = 100
/** Four attempts take about two seconds at most, well within what a Worker may do after its answer. */
const ATTEMPTS = 4
const GROWTH = 3

/** @param attempt 0 for the wait after the first failure @param random 0 to 1 @returns milliseconds */
export function backoffMs(attempt: number, random: number): number {
  return FIRST_DELAY_MS * GROWTH ** attempt * (0.5 + random / 2)
}

/** Repeats work that is safe to repeat. @throws what the last attempt threw */
export async function retrying<Answer>(work: () => Promise<Answer>): Promise<Answer> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt + 1 >= ATTEMPTS) throw error
      await new Promise(resolve => setTimeout(resolve, backoffMs(attempt, Math.random())))
    }
  }
}
