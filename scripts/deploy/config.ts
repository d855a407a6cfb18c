import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'smol-toml'
import { z } from 'zod'
import { SETTING_NAMES, type SettingName } from '../../durable-objects/settings.ts'
import type { DeployOptions } from './options.ts'

/**
 * The configuration that wrangler deploys: wrangler.toml with the account's ids, the operator's settings and, where one
 * is wanted, a custom domain. It is generated anew by each deployment and holds no secret.
 */
const Toml = z.looseObject({
  name: z.string(),
  main: z.string(),
  vars: z.record(z.string(), z.string()),
  assets: z.looseObject({}),
  d1_databases: z.tuple([z.looseObject({ binding: z.string(), migrations_dir: z.string() })]),
  r2_buckets: z.tuple([z.looseObject({ binding: z.string() })]),
})
export type BaseConfig = z.infer<typeof Toml>

/** Bundling and checking need an id, not the id. */
export const NO_DATABASE = '00000000-0000-0000-0000-000000000000'

export function readBaseConfig(root: string): BaseConfig {
  return Toml.parse(parse(readFileSync(path.join(root, 'wrangler.toml'), 'utf8')))
}

/** wrangler.toml names every setting that is no secret. */
export function secretNamesOf(base: BaseConfig): SettingName[] {
  return SETTING_NAMES.filter(name => base.vars[name] === undefined)
}

/** @param databaseId as Cloudflare gave it */
export function deployedConfig(base: BaseConfig, options: DeployOptions, databaseId: string) {
  const { build: _, ...rest } = base
  const name = nameOf(base, options)
  const fromHere = (inRepository: string) => path.posix.relative(folderOf(name), inRepository)
  const domain = options.target.Deploy__Domain
  const [database] = base.d1_databases
  const [bucket] = base.r2_buckets
  return {
    ...rest,
    name,
    main: fromHere(base.main),
    vars: { ...base.vars, ...options.vars },
    assets: { ...base.assets, directory: fromHere(dashboardOf(name)) },
    d1_databases: [
      {
        ...database,
        database_name: name,
        database_id: databaseId,
        migrations_dir: fromHere(database.migrations_dir),
      },
    ],
    r2_buckets: [{ ...bucket, bucket_name: name }],
    // What stands in front of the domain, such as Cloudflare Access, must not be passed by another address.
    ...(domain !== undefined && {
      workers_dev: false,
      routes: [{ pattern: domain, custom_domain: true }],
    }),
  }
}

export function nameOf(base: BaseConfig, { target }: DeployOptions): string {
  return target.Deploy__Name ?? base.name
}

/** What is generated for a deployment, beside other things that are built. */
function folderOf(name: string): string {
  return path.join('dist', 'deploy', name)
}

export function dashboardOf(name: string): string {
  return path.join(folderOf(name), 'dashboard')
}

export function bundleOf(name: string): string {
  return path.join(folderOf(name), 'bundle')
}

/** @returns the file's path from the repository's folder */
export function writeConfig(root: string, config: ReturnType<typeof deployedConfig>): string {
  const file = path.join(folderOf(config.name), 'wrangler.json')
  mkdirSync(path.join(root, path.dirname(file)), { recursive: true })
  writeFileSync(path.join(root, file), `${JSON.stringify(config, null, 2)}\n`)
  return file
}
