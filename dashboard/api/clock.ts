/** The control plane's clock, by which everything that ticks is told: that of this machine may be wrong. */

let skewMs = 0

export function serverNow(): number {
  return Date.now() + skewMs
}

/** @param date of the answer's header, which is in whole seconds */
export function hearClock(date: string | null, sentAt: number, heardAt: number): void {
  const saidAt = Date.parse(date ?? '')
  if (!Number.isNaN(saidAt)) skewMs = skewAfter(skewMs, { saidAt, sentAt, heardAt })
}

export interface Heard {
  /** By the other clock, and up to a second later than it says. */
  readonly saidAt: number
  readonly sentAt: number
  readonly heardAt: number
}

/** Changed no more than the answer proves, so that nothing jumps with every answer. */
export function skewAfter(knownMs: number, { saidAt, sentAt, heardAt }: Heard): number {
  const least = saidAt - heardAt
  const most = saidAt + 999 - sentAt
  return Math.min(Math.max(knownMs, least), most)
}
