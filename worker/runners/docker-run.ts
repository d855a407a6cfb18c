import { VERSION } from '../../protocol/version.ts'

/** The documented command that starts a runner, filled in: paste it into a shell on the Docker host. */
export function dockerRun(origin: string, poolId: string, registrationToken: string): string {
  return [
    'docker run -d',
    '--name certyn-runner',
    '--restart unless-stopped',
    '-v /var/run/docker.sock:/var/run/docker.sock',
    '-v /var/lib/certyn-runner:/var/lib/certyn-runner',
    `-e CONTROL_PLANE_URL=${origin}`,
    `-e RUNNER_POOL_ID=${poolId}`,
    `-e REGISTRATION_TOKEN=${registrationToken}`,
    '-e RUNNER_NAME=runner-east-1',
    '-e MAX_CONCURRENCY=2',
    `docker.io/certyn/runner:v${VERSION}`,
  ].join(' \\\n  ')
}

/** The address the caller used: behind a proxy that ends TLS, the Worker itself is asked over plain HTTP. */
export function originOf(request: Request): string {
  const url = new URL(request.url)
  if (request.headers.get('x-forwarded-proto') === 'https') url.protocol = 'https:'
  return url.origin
}
