import { DeployFailure } from './failure.ts'
import type { WranglerFailure } from './wrangler.ts'

/** What to do about the refusals of Cloudflare's API that a deployment meets in practice. */
const REMEDIES: Readonly<Record<number, string>> = {
  7406: 'this account has as many D1 databases as its plan allows: delete one that is not needed, or upgrade the plan',
  9109: 'the API token is not valid: make a new one (docs/deploy.md lists what it has to be allowed) and set CLOUDFLARE_API_TOKEN',
  10000:
    'the API token or the sign-in is not allowed to do this: give the token the permissions that docs/deploy.md lists, or run `npx wrangler login` again',
  10042:
    'switch R2 on in the dashboard of this account (R2 Object Storage; it asks for a payment method, and has a free part), then run this again',
  10063:
    'open Workers & Pages in the dashboard of this account once, so that it gets its workers.dev subdomain, then run this again',
}

/** @param step what was being done, as in "could not <step>" */
export function refusalOf(step: string, failure: WranglerFailure): DeployFailure {
  const known = failure.code === null ? undefined : REMEDIES[failure.code]
  const remedy = known ?? 'put right what wrangler says and run `npm run deploy` again: it goes on from here'
  return new DeployFailure(`could not ${step}: ${said(failure)}`, remedy)
}

/** Wrangler's reason for a refused request is in its output; the note holds only which request it was. */
function said({ message, output }: WranglerFailure): string {
  const details = output
    .split('\n')
    .map(line => line.trim())
    .filter(line => /\[code: \d+\]$/.test(line))
  return [message, ...details.filter(line => !message.includes(line))].join('\n  ')
}
