import { defineConfig } from 'vitest/config'
import { workerInWorkerd } from '../support/worker-in-workerd.ts'

export default defineConfig(
  workerInWorkerd(
    { name: 'workerd', include: ['test/workerd/*.test.ts'], setupFiles: ['./test/workerd/setup.ts'] },
    { OPERATOR_KEY: 'operator-key-of-the-tests', Features__SelfHostedRelayEnabled: 'true' },
  ),
)
