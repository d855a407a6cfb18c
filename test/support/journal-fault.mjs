// Preloaded into a runner: one fault at one write of its journal. TEST_JOURNAL_FAULT says which, as in `die before
// created` or `hold after accepted`; the step is one of the journal's own, or `ending` for the first entry that says
// why a session is being ended, or `erased`. TEST_JOURNAL_FAULT_DONE names a file that is made when it happens, so
// that the next process goes on without.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import fsPromises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const { TEST_JOURNAL_FAULT: fault = '', TEST_JOURNAL_FAULT_DONE: done = '' } = process.env
const [act, when, step] = fault.split(' ')
const { rename, rm } = fsPromises

async function happen() {
  writeFileSync(done, fault)
  if (act === 'die') process.kill(process.pid, 'SIGKILL')
  await new Promise(() => {})
}

function isMeant(path, stepOf) {
  return String(path).includes('/journal/') && !existsSync(done) && stepOf() === step
}

function stepIn(draft) {
  const { step, ending, exit } = JSON.parse(readFileSync(draft, 'utf8'))
  return ending !== null && exit === null ? 'ending' : step
}

fsPromises.rename = async (from, to) => {
  const meant = isMeant(to, () => stepIn(from))
  if (meant && when === 'before') await happen()
  await rename(from, to)
  if (meant) await happen()
}

fsPromises.rm = async (path, options) => {
  const meant = isMeant(path, () => (String(path).endsWith('.json') ? 'erased' : ''))
  if (meant && when === 'before') await happen()
  await rm(path, options)
  if (meant) await happen()
}
syncBuiltinESMExports()
