import path from 'node:path'
import { VERSION } from '../../protocol/version.ts'
import { buildDashboard } from '../build/dashboard.ts'
import { chooseAccount, NOT_SIGNED_IN, whoAmI } from './account.ts'
import {
  type BaseConfig,
  bundleOf,
  dashboardOf,
  deployedConfig,
  NO_DATABASE,
  nameOf,
  writeConfig,
} from './config.ts'
import { DeployFailure } from './failure.ts'
import { appliedMigrations, applyMigrations, compareMigrations, migrationFiles } from './migrations.ts'
import { nextSteps } from './next-steps.ts'
import type { DeployOptions } from './options.ts'
import { refusalOf } from './refusal.ts'
import { chooseOperatorKey, type OperatorKey, storedSecrets, storeSecrets } from './secrets.ts'
import { type Address, accepts, smokeCheck } from './smoke-check.ts'
import { createBucket, createDatabase, findDatabase, hasBucket } from './storage.ts'
import type { Deployment, Wrangler } from './wrangler.ts'

/**
 * The steps of a deployment, in the order in which a stop after any of them leaves a control plane that works: what is
 * there already is found, the database is migrated before the code that needs it, the code is checked before anything
 * is touched, and secrets follow the Worker they belong to (until then nobody can be an operator).
 */
export interface Deploying {
  readonly root: string
  readonly base: BaseConfig
  readonly options: DeployOptions
  readonly wrangler: Wrangler
  readonly isCi: boolean
  readonly accessHeaders: Readonly<Record<string, string>>
  readonly say: (line: string) => void
}

export async function deploy(deploying: Deploying): Promise<void> {
  const { base, options, say } = deploying
  const name = nameOf(base, options)
  say(`${options.dryRun ? 'Dry run: nothing is changed. ' : ''}Deploying ${name} ${VERSION}`)
  const wrangler = await signIn(deploying)
  await build(deploying)
  if (wrangler === null) return say(WITHOUT_ACCOUNT)

  const signedIn = { ...deploying, wrangler }
  const stored = await storedSecrets(wrangler, name)
  const operator = chooseOperatorKey(options.secrets.OPERATOR_KEY, stored, deploying.isCi)
  const databaseId = await ensureDatabase(signedIn, name)
  await ensureBucket(signedIn, name)
  const config = writeConfig(deploying.root, deployedConfig(base, options, databaseId ?? NO_DATABASE))
  await migrate(signedIn, databaseId === null ? null : config)
  if (options.dryRun) return say(planOfTheRest(operator, stored, options))

  const address = addressOf(deploying, await upload(signedIn, config))
  await keepSecrets(signedIn, name, operator, stored, address)
  await check(signedIn, name, operator, address)
  say(nextSteps(address.origin, options))
}

const WITHOUT_ACCOUNT = `  account     none: nobody is signed in, so what is there already was not looked at
Would create the database and the bucket where there are none, apply the migrations, deploy, store OPERATOR_KEY where
there is none, and check the address.`

/** @returns null in a dry run without an account */
async function signIn({ wrangler, options, say }: Deploying): Promise<Wrangler | null> {
  const who = await whoAmI(wrangler)
  if (who === null && options.dryRun) return null
  if (who === null) throw NOT_SIGNED_IN
  const account = chooseAccount(who.accounts, options.target.CLOUDFLARE_ACCOUNT_ID)
  say(`  account     ${account.name} (${account.id})`)
  return wrangler.ofAccount(account.id)
}

/** What cannot be built must not cost a migration, so it is built before anything is touched. */
async function build({ root, base, options, wrangler, say }: Deploying): Promise<void> {
  const name = nameOf(base, options)
  await buildDashboard(root, path.join(root, dashboardOf(name)))
  const config = writeConfig(root, deployedConfig(base, options, NO_DATABASE))
  const outcome = await wrangler.run(['deploy', '--dry-run', '--outdir', bundleOf(name), '-c', config])
  if (!outcome.ok) throw refusalOf('build the Worker', outcome.failure)
  say('  build       dashboard and Worker')
}

/** @returns its id; null in a dry run where there is none yet */
async function ensureDatabase({ wrangler, options, say }: Deploying, name: string): Promise<string | null> {
  const found = await findDatabase(wrangler, name)
  if (found !== null || options.dryRun) {
    say(`  database    ${name} ${found === null ? 'would be created' : `found (${found})`}`)
    return found
  }
  const created = await createDatabase(wrangler, name, options.target.Deploy__Location)
  say(`  database    ${name} created (${created})`)
  return created
}

async function ensureBucket({ wrangler, options, say }: Deploying, name: string): Promise<void> {
  if (await hasBucket(wrangler, name)) return say(`  bucket      ${name} found`)
  if (options.dryRun) return say(`  bucket      ${name} would be created`)
  await createBucket(wrangler, name, options.target.Deploy__Location)
  say(`  bucket      ${name} created`)
}

/** @param config null where there is no database to look into */
async function migrate({ root, wrangler, options, say }: Deploying, config: string | null): Promise<void> {
  const files = migrationFiles(path.join(root, 'migrations'))
  const applied = config === null ? [] : await appliedMigrations(wrangler, config)
  const { pending, unknown } = compareMigrations(files, applied)
  if (unknown.length > 0) {
    say(`  migrations  ${unknown.join(', ')} came with a later release; see "Rolling back" in docs/deploy.md`)
  }
  if (pending.length === 0) return say('  migrations  none to apply')
  if (options.dryRun || config === null) return say(`  migrations  would apply ${pending.join(', ')}`)
  await applyMigrations(wrangler, config)
  say(`  migrations  applied ${pending.join(', ')}`)
}

function planOfTheRest(operator: OperatorKey, stored: readonly string[], { secrets }: DeployOptions): string {
  const keys = {
    environment: stored.includes('OPERATOR_KEY') ? 'stored unless it is the same' : 'stored',
    generated: 'generated, stored and shown once',
    stored: 'left as it is',
  } as const
  const others = Object.keys(secrets).filter(name => name !== 'OPERATOR_KEY')
  const more = others.map(name => `\n  secrets     ${name} would be stored`).join('')
  return `  secrets     OPERATOR_KEY would be ${keys[operator.from]}${more}
  deployment  would be made, and its address checked`
}

async function upload({ wrangler, say }: Deploying, config: string): Promise<Deployment> {
  const outcome = await wrangler.run(['deploy', '-c', config])
  if (!outcome.ok) throw refusalOf('deploy the Worker', outcome.failure)
  if (outcome.deployment === null) throw new Error('wrangler did not say what it deployed')
  say(`  deployment  version ${outcome.deployment.version_id ?? 'unknown'}`)
  return outcome.deployment
}

function addressOf({ options, accessHeaders }: Deploying, { targets }: Deployment): Address {
  const { Deploy__Address: given, Deploy__Domain: domain } = options.target
  const ownDomain = domain === undefined ? undefined : `https://${domain}`
  const origin = given ?? ownDomain ?? targets.find(target => /^https:\/\/[^/ ]+$/.test(target))
  if (origin !== undefined) return { origin, headers: accessHeaders }
  throw new DeployFailure(
    'the Worker was deployed and has no address',
    'set Deploy__Domain to a host name of a zone in this account, or Deploy__Address to where the Worker is reached, and run this again',
  )
}

async function keepSecrets(
  { wrangler, options, say }: Deploying,
  name: string,
  operator: OperatorKey,
  stored: readonly string[],
  address: Address,
): Promise<void> {
  const { OPERATOR_KEY: _, ...secrets }: Record<string, string> = { ...options.secrets }
  const isKnown =
    operator.from === 'stored' || (stored.includes('OPERATOR_KEY') && (await accepts(address, operator.key)))
  if (!isKnown) secrets.OPERATOR_KEY = operator.key
  if (operator.from === 'generated') {
    say(`
  OPERATOR_KEY=${operator.key}

  This is shown once and kept nowhere else: put it into your store of secrets now. It creates tenants and nothing else.
  Should this run fail before it says that OPERATOR_KEY is stored, the next one either shows another or this is it.
`)
  }
  if (Object.keys(secrets).length === 0) return say('  secrets     left as they are')
  await storeSecrets(wrangler, name, secrets)
  say(`  secrets     ${Object.keys(secrets).sort().join(', ')} stored`)
}

async function check(
  { options, say }: Deploying,
  name: string,
  operator: OperatorKey,
  address: Address,
): Promise<void> {
  const key = operator.from === 'stored' ? null : operator.key
  const trouble = await smokeCheck(address, key, options.target.Deploy__CheckSeconds * 1000)
  if (trouble.length > 0) {
    throw new DeployFailure(
      `${address.origin} was deployed and does not answer as it should:\n${trouble.map(({ what, why }) => `  ${what}: ${why}`).join('\n')}`,
      `if the address is new, run \`npm run deploy\` again in some minutes; otherwise \`npx wrangler tail ${name}\` shows what the Worker says, and \`npx wrangler rollback --name ${name}\` brings the version before it back`,
    )
  }
  const database = key === null ? '; the database was not asked, because OPERATOR_KEY is not set here' : ''
  say(`  check       ${address.origin} answers as release ${VERSION}${database}`)
}
