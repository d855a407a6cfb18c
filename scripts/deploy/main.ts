import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { readBaseConfig, secretNamesOf } from './config.ts'
import { deploy } from './deploy.ts'
import { DeployFailure } from './failure.ts'
import { DEFAULT_SETTINGS_FILE, parseDeployOptions, USAGE } from './options.ts'
import { Wrangler } from './wrangler.ts'

/** `npm run deploy`: from this tree to a control plane on Cloudflare that answers, as often as one likes. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const EXIT_WRONG_SETTING = 2

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    console.log(USAGE)
    return 0
  }
  const base = readBaseConfig(ROOT)
  const secretNames = secretNamesOf(base)
  const parsed = parseDeployOptions({ args, environment: process.env, readFile: readSettings, secretNames })
  if (!parsed.ok) {
    for (const problem of parsed.problems) console.error(`deploy: ${problem}`)
    console.error('deploy: nothing was touched')
    return EXIT_WRONG_SETTING
  }
  const wrangler = new Wrangler({ root: ROOT, environment: withoutSecrets(secretNames) })
  try {
    await deploy({
      root: ROOT,
      base,
      options: parsed.options,
      wrangler,
      isCi: !['', '0', 'false'].includes(process.env.CI ?? ''),
      accessHeaders: accessHeaders(),
      say: line => console.log(line),
    })
    return 0
  } catch (error) {
    console.error(`\ndeploy: ${error instanceof Error ? error.message : String(error)}`)
    if (error instanceof DeployFailure) console.error(`What to do: ${error.remedy}`)
    return 1
  }
}

/** One that is named is looked for where the command was given; deploy.env is beside wrangler.toml. */
function readSettings(named: string | undefined): string | null {
  const file =
    named === undefined
      ? path.join(ROOT, DEFAULT_SETTINGS_FILE)
      : path.resolve(process.env.INIT_CWD ?? process.cwd(), named)
  return existsSync(file) ? readFileSync(file, 'utf8') : null
}

/** Wrangler is handed them when they are to be stored, and not before. */
function withoutSecrets(names: readonly string[]): NodeJS.ProcessEnv {
  const isSecret = (name: string) => names.includes(name.replaceAll(':', '__'))
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isSecret(name)))
}

/** A service token's, under the names that wrangler itself takes them by. */
function accessHeaders(): Record<string, string> {
  const { CLOUDFLARE_ACCESS_CLIENT_ID: id, CLOUDFLARE_ACCESS_CLIENT_SECRET: secret } = process.env
  return id && secret ? { 'cf-access-client-id': id, 'cf-access-client-secret': secret } : {}
}
