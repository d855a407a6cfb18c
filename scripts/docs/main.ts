import { readFileSync, writeFileSync } from 'node:fs'
import { cliReference } from './cli-reference.ts'
import { withGenerated } from './generated.ts'

/** Writes the parts of the documents that follow from the code. */
const DOCUMENTS = [{ file: new URL('../../docs/cli.md', import.meta.url), generate: cliReference }]

for (const { file, generate } of DOCUMENTS) {
  writeFileSync(file, withGenerated(readFileSync(file, 'utf8'), generate()))
}
