import path from 'node:path'
import { parseArgs } from 'node:util'

/** What `npm run up` was asked to do. Who asks for help is given USAGE before. */
export interface UpOptions {
  /** End after the sample. */
  readonly once: boolean
  /** Null takes the usual one, or another where that is taken. */
  readonly port: number | null
  readonly stateDir: string
}

export type Parsed =
  | { readonly ok: true; readonly options: UpOptions }
  | { readonly ok: false; readonly problem: string }

export const USAGE = `Usage: npm run up [-- [--once] [--port 8787] [--state-dir DIR]]

A control plane, a runner and a sample run on this machine, until Ctrl-C.

  --once       end after the sample, with exit code 0 if it succeeded
  --port       of the control plane, 0 for any free one (the last one, at first 8787)
  --state-dir  folder that keeps everything (.certyn)

Settings of both come from the environment; README.md lists them.`

/** @param base folder that a relative state folder is resolved against */
export function parseOptions(args: readonly string[], root: string, base: string): Parsed {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { once: { type: 'boolean' }, port: { type: 'string' }, 'state-dir': { type: 'string' } },
    })
    const { port, 'state-dir': stateDir } = values
    if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) <= 65_535))
      return { ok: false, problem: '--port: expected 0 to 65535' }
    if (stateDir === '') return { ok: false, problem: '--state-dir: expected a folder' }
    return {
      ok: true,
      options: {
        once: values.once ?? false,
        port: port === undefined ? null : Number(port),
        stateDir: stateDir === undefined ? path.join(root, '.certyn') : path.resolve(base, stateDir),
      },
    }
  } catch (error) {
    return { ok: false, problem: error instanceof Error ? error.message : String(error) }
  }
}
