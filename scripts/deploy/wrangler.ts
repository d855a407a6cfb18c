import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { stripVTControlCharacters } from 'node:util'
import { z } from 'zod'

/**
 * Wrangler as a process: its commands, their JSON, and the output file in which it notes what it deployed and why a
 * command failed. What it is told goes through arguments, the environment and, for secrets, its standard input.
 */
export type Outcome =
  | { readonly ok: true; readonly stdout: string; readonly deployment: Deployment | null }
  | { readonly ok: false; readonly failure: WranglerFailure }

export interface WranglerFailure {
  /** Of the Cloudflare API, where it was the API that refused. */
  readonly code: number | null
  readonly message: string
  /** Everything it wrote, for people. */
  readonly output: string
}

const Deployment = z.object({
  type: z.literal('deploy'),
  version_id: z.string().nullable(),
  targets: z.array(z.string()).default([]),
})
export type Deployment = z.infer<typeof Deployment>

const CommandFailed = z.object({
  type: z.literal('command-failed'),
  code: z.number().optional(),
  message: z.string().default(''),
})
const Note = z.union([Deployment, CommandFailed, z.looseObject({ type: z.string() })])

export interface WranglerOptions {
  readonly root: string
  readonly environment: Readonly<Record<string, string | undefined>>
}

export class Wrangler {
  readonly #root: string
  readonly #environment: Readonly<Record<string, string | undefined>>

  constructor({ root, environment }: WranglerOptions) {
    this.#root = root
    this.#environment = environment
  }

  /** The same for one account: with several, wrangler would ask. */
  ofAccount(accountId: string): Wrangler {
    const environment = { ...this.#environment, CLOUDFLARE_ACCOUNT_ID: accountId }
    return new Wrangler({ root: this.#root, environment })
  }

  /** @param input what it reads from its standard input; nobody sits there, so it asks no questions */
  async run(args: readonly string[], input = ''): Promise<Outcome> {
    const folder = mkdtempSync(path.join(tmpdir(), 'certyn-deploy-'))
    try {
      const notes = path.join(folder, 'notes.ndjson')
      const { code, stdout, stderr } = await this.#spawn(args, input, notes)
      const said = notesOf(notes)
      if (code === 0) return { ok: true, stdout, deployment: firstOf(said, Deployment) }
      const failed = firstOf(said, CommandFailed)
      const output = stripVTControlCharacters(`${stdout}${stderr}`).trim()
      return {
        ok: false,
        failure: { code: failed?.code ?? null, message: failed?.message || output, output },
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  async #spawn(args: readonly string[], input: string, notes: string) {
    const binary = path.join(this.#root, 'node_modules', 'wrangler', 'bin', 'wrangler.js')
    const child = spawn(process.execPath, [binary, ...args], {
      cwd: this.#root,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        WRANGLER_SEND_METRICS: 'false',
        ...this.#environment,
        WRANGLER_OUTPUT_FILE_PATH: notes,
        // Its log files show requests otherwise, and with them the secrets.
        WRANGLER_LOG_SANITIZE: 'true',
        WRANGLER_HIDE_BANNER: 'true',
      },
    })
    const ended = new Promise<number | null>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', resolve)
    })
    // A process that reads nothing and ends is no fault of the pipe's.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended])
    return { code, stdout, stderr }
  }
}

function notesOf(file: string): unknown[] {
  try {
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
    return lines.map(line => Note.parse(JSON.parse(line)))
  } catch {
    // Without its notes the exit code and the output still say what happened.
    return []
  }
}

function firstOf<T>(notes: readonly unknown[], schema: z.ZodType<T>): T | null {
  for (const note of notes) {
    const parsed = schema.safeParse(note)
    if (parsed.success) return parsed.data
  }
  return null
}

/** @throws where a command that was asked for JSON gave something else */
export function parseJson<T>(what: string, stdout: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(stdout))
  } catch {
    throw new Error(`wrangler ${what} gave an answer that is not understood:\n${stdout.slice(0, 500)}`)
  }
}
