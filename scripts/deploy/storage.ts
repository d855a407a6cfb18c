import { z } from 'zod'
import { DeployFailure } from './failure.ts'
import { refusalOf } from './refusal.ts'
import { parseJson, type Wrangler } from './wrangler.ts'

/** The database and the bucket: found by their name, made where there is none. */
type Runs = Pick<Wrangler, 'run'>

const Databases = z.array(z.object({ uuid: z.string(), name: z.string() }))
/** Cloudflare's code for a bucket that does not exist. */
const NO_SUCH_BUCKET = 10_006

/** @returns its id, or null where there is none of that name */
export async function findDatabase(wrangler: Runs, name: string): Promise<string | null> {
  const outcome = await wrangler.run(['d1', 'list', '--json'])
  if (!outcome.ok) throw refusalOf('list the D1 databases', outcome.failure)
  const databases = parseJson('d1 list', outcome.stdout, Databases)
  return databases.find(database => database.name === name)?.uuid ?? null
}

/** @returns the new database's id */
export async function createDatabase(
  wrangler: Runs,
  name: string,
  location: string | undefined,
): Promise<string> {
  const outcome = await wrangler.run(['d1', 'create', name, '--no-update-config', ...hint(location)])
  if (!outcome.ok) throw refusalOf(`create the D1 database ${name}`, outcome.failure)
  const id = await findDatabase(wrangler, name)
  if (id !== null) return id
  throw new DeployFailure(
    `the D1 database ${name} was created and is not listed yet`,
    'run `npm run deploy` again in a minute: it goes on from here',
  )
}

export async function hasBucket(wrangler: Runs, name: string): Promise<boolean> {
  const outcome = await wrangler.run(['r2', 'bucket', 'info', name, '--json'])
  if (outcome.ok) return true
  if (outcome.failure.code === NO_SUCH_BUCKET) return false
  throw refusalOf('look for the R2 bucket', outcome.failure)
}

export async function createBucket(
  wrangler: Runs,
  name: string,
  location: string | undefined,
): Promise<void> {
  const outcome = await wrangler.run([
    'r2',
    'bucket',
    'create',
    name,
    '--no-update-config',
    ...hint(location),
  ])
  if (!outcome.ok) throw refusalOf(`create the R2 bucket ${name}`, outcome.failure)
}

function hint(location: string | undefined): string[] {
  return location === undefined ? [] : ['--location', location]
}
