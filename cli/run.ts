import { CommanderError } from 'commander'
import { ControlPlane } from './api/control-plane.ts'
import { EXIT, exitOfFailure } from './exit-codes.ts'
import { CommandFailure, documentOf, type Failure, linesOf } from './failure.ts'
import { Output, type Streams } from './output/output.ts'
import { createProgram, type GlobalOptions } from './program.ts'
import type { Session } from './session.ts'
import { readSettings, redacted } from './settings.ts'

export interface Shell extends Streams {
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Carries out one command line. @param words without the program's own name @returns the exit code */
export async function run(words: readonly string[], shell: Shell): Promise<number> {
  const sessions: Session[] = []
  const connect = (options: GlobalOptions) => {
    const settings = readSettings(shell.env, options)
    const session = {
      api: new ControlPlane(settings),
      out: new Output(shell, options.json === true),
      exitCode: 0,
    }
    sessions.push(session)
    return session
  }
  const program = createProgram({ connect, print: text => void shell.stdout.write(text) })
  try {
    await program.parseAsync([...words], { from: 'user' })
    return sessions.find(({ exitCode }) => exitCode !== EXIT.done)?.exitCode ?? EXIT.done
  } catch (error) {
    const failure = failureOf(error)
    if (failure === null) return EXIT.done
    if (failure === 'help') return EXIT.usage
    const code = exitOfFailure(failure)
    const asks = words.slice(0, words.includes('--') ? words.indexOf('--') : undefined)
    if (asks.includes('--json'))
      shell.stderr.write(`${redacted(JSON.stringify(documentOf(failure, code)))}\n`)
    else
      shell.stderr.write(
        linesOf(failure)
          .map(line => `certyn: ${redacted(line)}\n`)
          .join(''),
      )
    return code
  } finally {
    for (const { api } of sessions) await api.close()
  }
}

/** A secret that was given as an option is known by everybody by now; the next one need not be. */
const SECRET_OPTION = /unknown option '--?(?:api-?key|key|token|secret|password)\b/i
const NO_SECRETS =
  'a secret is never an argument, which every process of this machine can read: set CERTYN_API_KEY or CERTYN_API_KEY_FILE'

/** @returns null for a good end, `help` where help was shown in place of what was asked @throws faults of this program */
function failureOf(error: unknown): Failure | 'help' | null {
  if (error instanceof CommandFailure) return error.failure
  if (!(error instanceof CommanderError)) throw error
  if (error.exitCode === 0) return null
  if (error.code === 'commander.help') return 'help'
  const said = error.message.replace(/^error: /, '')
  // `--name=value` is echoed whole.
  const detail = SECRET_OPTION.test(said) ? `${said.replace(/=.*$/s, "'")}\n${NO_SECRETS}` : said
  return {
    kind: 'usage',
    detail: `${detail}\n\`certyn --help\`, or --help behind any command, says what there is`,
  }
}
