import type { ControlPlane } from './api/control-plane.ts'
import type { Output } from './output/output.ts'

/** What a command works with. */
export interface Session {
  readonly api: ControlPlane
  readonly out: Output
  /** Set where the command was carried out and still has bad news. */
  exitCode: number
}

/** Reads the settings, which may fail; so only a command that needs a control plane asks for it. */
export type Open = () => Session
