import { parseArgs } from 'node:util'
import { diagnose } from '../doctor/diagnose.ts'
import { Examination, type Result } from '../doctor/examination.ts'
import { documentOf, isSound, linesOf, summaryOf } from '../doctor/report.ts'
import { reasonOf } from '../log.ts'
import { redactor } from '../redaction.ts'

const USAGE = 'usage: runner doctor [--image IMAGE] [--json]'

interface Options {
  readonly image: string | null
  readonly json: boolean
}

/** What a shell says of a process that a signal has ended. */
const EXIT_SIGNALLED = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
type Signal = keyof typeof EXIT_SIGNALLED

/** `runner doctor`. @returns its exit code: 0 when nothing failed, 1 when something did, 2 on wrong arguments */
export async function doctor(args: readonly string[], print: (line: string) => void): Promise<number> {
  const options = readOptions(args)
  if (typeof options === 'string') {
    process.stderr.write(`${options}\n${USAGE}\n`)
    return 2
  }
  const redact = redactor([process.env.REGISTRATION_TOKEN])
  const results: Result[] = []
  const onResult = ({ seen, remedy, ...rest }: Result) => {
    const result = { ...rest, seen: redact(seen), remedy: remedy === null ? null : redact(remedy) }
    results.push(result)
    if (!options.json) for (const line of linesOf(result)) print(line)
  }
  const stop = new AbortController()
  let stoppedBy: Signal | null = null
  const onSignal = (signal: NodeJS.Signals) => {
    stoppedBy ??= signal as Signal
    stop.abort(new Error(`stopped by ${signal}`))
  }
  // As often as it is told: npm's launcher and the terminal each tell once, and what was begun is removed first.
  for (const signal of Object.keys(EXIT_SIGNALLED)) process.on(signal, onSignal)
  try {
    await diagnose(new Examination(stop.signal, onResult), process.env, options.image)
  } catch (error) {
    if (stoppedBy === null) throw error
    process.stderr.write(`runner: ${redact(reasonOf(error))}\n`)
    return EXIT_SIGNALLED[stoppedBy]
  }
  print(options.json ? JSON.stringify(documentOf(results), null, 2) : summaryOf(results))
  return isSound(results) ? 0 : 1
}

/** @returns the options, or what is wrong with the arguments */
function readOptions(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { image: { type: 'string' }, json: { type: 'boolean', default: false } },
    })
    if (values.image?.trim() === '') return '--image: expected an image'
    return { image: values.image ?? null, json: values.json }
  } catch (error) {
    return reasonOf(error)
  }
}
