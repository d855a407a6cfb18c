import { z } from 'zod'
import { DeployFailure } from './failure.ts'
import { refusalOf } from './refusal.ts'
import { parseJson, type Wrangler } from './wrangler.ts'

const WhoAmI = z.object({
  loggedIn: z.boolean(),
  accounts: z.array(z.object({ id: z.string(), name: z.string() })).default([]),
})
export type WhoAmI = z.infer<typeof WhoAmI>

export interface Account {
  readonly id: string
  readonly name: string
}

/** @returns null where nobody is signed in */
export async function whoAmI(wrangler: Pick<Wrangler, 'run'>): Promise<WhoAmI | null> {
  const outcome = await wrangler.run(['whoami', '--json'])
  if (outcome.ok) return parseJson('whoami', outcome.stdout, WhoAmI)
  if (/"loggedIn":\s*false/.test(outcome.failure.message)) return null
  throw refusalOf('find out who is signed in', outcome.failure)
}

/** @throws DeployFailure where it is not clear which account is meant */
export function chooseAccount(accounts: readonly Account[], wanted: string | undefined): Account {
  const listed = accounts.map(({ id, name }) => `  ${id}  ${name}`).join('\n')
  const [only] = accounts
  if (wanted !== undefined) {
    const found = accounts.find(account => account.id === wanted)
    if (found !== undefined) return found
    // A token that is narrow enough may not list accounts at all.
    if (only === undefined) return { id: wanted, name: 'as given' }
    throw new DeployFailure(
      'CLOUDFLARE_ACCOUNT_ID: this sign-in has no such account',
      `set CLOUDFLARE_ACCOUNT_ID to one of\n${listed}`,
    )
  }
  if (only === undefined) {
    throw new DeployFailure(
      'this sign-in names no account',
      'set CLOUDFLARE_ACCOUNT_ID to the account’s id: it is in the address of its dashboard, dash.cloudflare.com/<id>',
    )
  }
  if (accounts.length > 1) {
    throw new DeployFailure(
      `this sign-in has ${accounts.length} accounts`,
      `set CLOUDFLARE_ACCOUNT_ID, in the environment or in deploy.env, to one of\n${listed}`,
    )
  }
  return only
}

export const NOT_SIGNED_IN = new DeployFailure(
  'wrangler is not signed in to Cloudflare',
  'run `npx wrangler login`, or set CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID (docs/deploy.md lists what the token has to be allowed)',
)
