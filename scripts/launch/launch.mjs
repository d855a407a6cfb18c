import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureInstalled, NODE_BINARY } from './install.mjs'
import { droppedByTheShell, followNpm, startedByNpm } from './npm.mjs'

/**
 * How every `npm run` of this repository starts: on whatever Node (20 or newer) the host has, with nothing
 * installed, install what is missing, then become the program on the Node of node_modules.
 *
 * Where the host's Node can replace its own process it does, so that the pid npm knows is the program itself.
 * Node 20 cannot; there the program is a child that is told of signals and that dies with this process,
 * even by kill -9 (see follow-parent.mjs).
 */
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const FOLLOW_PARENT = new URL('./follow-parent.mjs', import.meta.url).href
const FORWARDED = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])

/**
 * @param {string} program path of the program inside the repository, or of a binary's script in node_modules
 * @param {readonly string[]} args
 */
export function launch(program, args) {
  ensureInstalled(ROOT)
  if (startedByNpm()) Object.assign(process.env, droppedByTheShell())
  const node = path.join(ROOT, NODE_BINARY)
  const nodeArgs = [
    '--disable-warning=ExperimentalWarning',
    '--import',
    FOLLOW_PARENT,
    path.join(ROOT, program),
    ...args,
  ]
  if (typeof process.execve === 'function' && process.platform !== 'win32') {
    process.removeAllListeners('warning')
    process.execve(node, [node, ...nodeArgs], definedOnly(process.env))
  }
  // The fourth stream is the lifeline: it closes when this process is gone, however it went.
  const child = spawn(node, nodeArgs, {
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
    env: { ...process.env, CERTYN_LIFELINE_FD: '3' },
  })
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal))
  if (startedByNpm()) {
    followNpm(() => {
      child.kill('SIGKILL')
      process.exit(137)
    })
  }
  child.on('error', error => {
    console.error(`${node} could not be started: ${error.message}`)
    process.exit(1)
  })
  child.on('exit', (code, signal) => {
    process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
  })
}

/** @param {NodeJS.ProcessEnv} env */
function definedOnly(env) {
  return /** @type {Record<string, string>} */ (
    Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined))
  )
}
