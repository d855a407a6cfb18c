import { cliReference } from './cli-reference.ts'
import { costsReference } from './costs/costs-reference.ts'
import { limitsReference } from './limits-reference.ts'
import { mostUsedSettings, settingsReference } from './settings-reference.ts'

/** Every document with a part that follows from the code. */
export const DOCUMENTS = [
  { file: new URL('../../README.md', import.meta.url), generate: mostUsedSettings },
  { file: new URL('../../docs/cli.md', import.meta.url), generate: cliReference },
  { file: new URL('../../docs/costs.md', import.meta.url), generate: costsReference },
  { file: new URL('../../docs/limits.md', import.meta.url), generate: limitsReference },
  { file: new URL('../../docs/settings.md', import.meta.url), generate: settingsReference },
]
