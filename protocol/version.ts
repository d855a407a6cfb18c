/** Release of this tree; runner and control plane report it, and the control plane flags runners behind it. */
export const VERSION = '0.1.0'

/** Wire protocol of the runner API. A runner that speaks another is answered 426. */
export const RUNNER_PROTOCOL = 1
