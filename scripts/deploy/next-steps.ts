import { VERSION } from '../../protocol/version.ts'
import type { DeployOptions } from './options.ts'

/** What is left to do by hand, with everything filled in that is known. The key stays out: it is in the environment. */
export function nextSteps(origin: string, { features }: DeployOptions): string {
  const off = features.runners
    ? ''
    : `
The feature is off, so no tenant can use it yet: put Features__SelfHostedRunnersEnabled=true into deploy.env (and
Features__SelfHostedRelayEnabled=true to watch runs live) and run \`npm run deploy\` again.
`
  return `
Deployed: ${origin}
${off}
What to do next

1. Create a tenant. The answer holds its first admin key, shown once:

   curl -X POST ${origin}/api/v1/tenants \\
     -H "authorization: Bearer $OPERATOR_KEY" -H 'content-type: application/json' \\
     -d '{"slug": "acme", "name": "Acme"}'

2. Open ${origin}/ and sign in with that admin key. Under Environments > Self-hosted runners create a pool
   and a registration token.

3. Start a runner on a Docker host; the token's dialog shows this command with pool and token filled in:

   docker run -d \\
     --name certyn-runner \\
     --restart unless-stopped \\
     -v /var/run/docker.sock:/var/run/docker.sock \\
     -v /var/lib/certyn-runner:/var/lib/certyn-runner \\
     -e CONTROL_PLANE_URL=${origin} \\
     -e RUNNER_POOL_ID=<POOL_ID> \\
     -e REGISTRATION_TOKEN=<REGISTRATION_TOKEN> \\
     -e RUNNER_NAME=runner-east-1 \\
     -e MAX_CONCURRENCY=2 \\
     docker.io/certyn/runner:v${VERSION}

After an upgrade: the control plane is done; now move the runners to v${VERSION}, one after the other.
`
}
