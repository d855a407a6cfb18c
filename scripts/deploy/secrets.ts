import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { DeployFailure } from './failure.ts'
import { refusalOf } from './refusal.ts'
import { parseJson, type Wrangler } from './wrangler.ts'

/**
 * The Worker's secrets. They come from the environment and go to wrangler through its standard input: never through
 * arguments, which every user of the machine can read, and never through a file.
 */
const StoredSecrets = z.array(z.object({ name: z.string() }))
const NO_SUCH_WORKER = /^Worker ".*" not found/

/** @returns the names of those that the Worker has; none where there is no Worker yet */
export async function storedSecrets(wrangler: Pick<Wrangler, 'run'>, worker: string): Promise<string[]> {
  const outcome = await wrangler.run(['secret', 'list', '--name', worker, '--format', 'json'])
  if (outcome.ok) return parseJson('secret list', outcome.stdout, StoredSecrets).map(({ name }) => name)
  if (NO_SUCH_WORKER.test(outcome.failure.message)) return []
  throw refusalOf('list the Worker’s secrets', outcome.failure)
}

export type OperatorKey =
  | { readonly from: 'environment'; readonly key: string }
  /** Shown once, because nobody else has it. */
  | { readonly from: 'generated'; readonly key: string }
  /** The Worker has one and nobody can read it from there. */
  | { readonly from: 'stored' }

/**
 * @param isCi whether what is written is kept as a log
 * @throws DeployFailure where one would have to be shown in a log
 */
export function chooseOperatorKey(
  given: string | undefined,
  stored: readonly string[],
  isCi: boolean,
  random: () => string = () => randomBytes(24).toString('base64url'),
): OperatorKey {
  if (given !== undefined) return { from: 'environment', key: given }
  if (stored.includes('OPERATOR_KEY')) return { from: 'stored' }
  if (!isCi) return { from: 'generated', key: random() }
  throw new DeployFailure(
    'OPERATOR_KEY: expected, because the Worker has none yet and one that is generated would be shown in this log',
    'set OPERATOR_KEY to 16 characters or more, from the secrets of your CI',
  )
}

export async function storeSecrets(
  wrangler: Pick<Wrangler, 'run'>,
  worker: string,
  secrets: Readonly<Record<string, string>>,
): Promise<void> {
  const outcome = await wrangler.run(['secret', 'bulk', '--name', worker], JSON.stringify(secrets))
  if (!outcome.ok) throw refusalOf(`store ${Object.keys(secrets).join(' and ')}`, outcome.failure)
}
