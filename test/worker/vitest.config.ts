import { defineConfig } from 'vitest/config'
import { workerInWorkerd } from '../support/worker-in-workerd.ts'

export default defineConfig(
  workerInWorkerd(
    {
      name: 'worker',
      include: ['test/worker/*.test.ts'],
      setupFiles: ['./test/worker/setup.ts'],
      globalSetup: ['./test/worker/access-team.ts'],
    },
    {
      OPERATOR_KEY: 'operator-key-of-the-tests',
      Features__SelfHostedRelayEnabled: 'true',
      Docker__DefaultImage: 'docker.io/certyn/agent:v0.1.0',
      // Two whole segments of a log in object storage, and some more.
      SelfHosted__LogCapBytes: String(18 * 1024 * 1024),
    },
    { serviceBindings: { ASSETS: () => new Response('an asset') as never } },
  ),
)
