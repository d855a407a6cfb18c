import { readFileSync } from 'node:fs'
import { uptime } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

/** A clock that goes on while the machine sleeps and that a restarted daemon shares with the one before it. */
export interface Clock {
  /** Milliseconds since the kernel started. */
  now(): number
  wallMs(): number
}

/** `os.uptime` reads /proc/uptime, which counts suspended time too, as the control plane's clock does. */
export const systemClock: Clock = {
  now: () => Math.round(uptime() * 1000),
  wallMs: () => Date.now(),
}

/** Tells whether two uptimes may be compared at all. Empty where the kernel does not say: then they may not. */
export function kernelBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}

/** Resolves after `ms`, or at once when the signal aborts. Never rejects. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(Math.max(0, ms), undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
}

/** @returns the milliseconds since it was made */
export function stopwatch(): () => number {
  const began = performance.now()
  return () => performance.now() - began
}

/** Spreads an interval over ±20 %, so that a fleet started together does not call together. */
export function jittered(ms: number, random: () => number = Math.random): number {
  return ms * (0.8 + 0.4 * random())
}
