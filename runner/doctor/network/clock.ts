import { type Check, fail, ok, warn } from '../examination.ts'
import type { Reply } from './way.ts'

/** Leases are counted on each side's own clock, but certificates, logs and tokens compare wall clocks. */
const SKEW_LIMIT_MS = 30_000

export const clock: Check<{ reply: Reply }, null> = {
  name: 'clock',
  look({ reply }) {
    const theirs = Date.parse(String(reply.headers.date))
    if (Number.isNaN(theirs)) {
      return warn(
        'cannot be compared: the control plane sends no Date',
        'compare this host with another clock',
      )
    }
    const aheadMs = reply.receivedAtMs - theirs
    const seconds = Math.round(Math.abs(aheadMs) / 1000)
    if (Math.abs(aheadMs) <= SKEW_LIMIT_MS) return ok(`within ${seconds} s of the control plane's`)
    const side = aheadMs > 0 ? 'ahead of' : 'behind'
    return fail(
      `this host is ${seconds} s ${side} the control plane`,
      'have it set by NTP (timedatectl set-ntp true); if it is right, the control plane is wrong',
    )
  },
}
