import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from './runs/wait.ts'

export const systemClock: Clock = {
  now: Date.now,
  random: Math.random,
  sleep: async (ms, signals) => {
    await sleep(ms, undefined, { signal: AbortSignal.any([...signals]) }).catch(() => undefined)
  },
}
