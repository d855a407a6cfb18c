import { readFileSync, writeFileSync } from 'node:fs'
import { DOCUMENTS } from './documents.ts'
import { withGenerated } from './generated.ts'

/** Writes the parts of the documents that follow from the code. */
for (const { file, generate } of DOCUMENTS) {
  writeFileSync(file, withGenerated(readFileSync(file, 'utf8'), generate()))
}
