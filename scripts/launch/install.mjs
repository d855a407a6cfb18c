import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * Makes sure node_modules holds what package-lock.json asks for. Plain JavaScript for Node 20, because on a
 * fresh clone nothing else is there yet.
 *
 * What is installed is read from npm's own record of the tree, which npm writes last: an install that was
 * interrupted leaves no record and is repeated.
 */
export const NODE_BINARY = path.join(
  'node_modules',
  '.bin',
  process.platform === 'win32' ? 'node.cmd' : 'node',
)

/** @param {string} root the repository's folder */
export function ensureInstalled(root) {
  const reason = whyInstall(root)
  if (reason === null) return
  console.error(`Installing dependencies with npm (${reason}). This takes a minute or two.`)
  const started = Date.now()
  // Not `npm ci`: it refuses a lockfile made at a registry that lacks some other platform's optional packages.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--progress=true']
  // npm would warn of every package that is not for the host's Node, on which none of them runs.
  const npm = spawnSync('npm', [...args, '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    // The Node of node_modules is replaced while npm runs, so npm has to run on the host's.
    env: { ...process.env, PATH: pathWithoutLocalBinaries(process.env.PATH ?? '') },
  })
  if (npm.error !== undefined)
    fail(`npm could not be started: ${npm.error.message}. Install Node 20 or newer with npm.`)
  if (npm.status !== 0)
    fail(`npm install failed with exit code ${npm.status ?? npm.signal}; its message is above.`)
  if (!existsSync(path.join(root, NODE_BINARY))) {
    fail(
      'npm install finished without node_modules/.bin/node. Check that install scripts are allowed (npm config get ignore-scripts).',
    )
  }
  console.error(`Dependencies installed in ${Math.round((Date.now() - started) / 1000)} s.`)
}

/**
 * @param {string} root
 * @returns {string | null} why an install is needed, or null
 */
export function whyInstall(root) {
  const wanted = packagesOf(path.join(root, 'package-lock.json'))
  if (wanted === null)
    fail('package-lock.json is missing or not valid JSON; restore it from version control.')
  const installed = packagesOf(path.join(root, 'node_modules', '.package-lock.json'))
  if (installed === null) return 'nothing is installed yet'
  if (!existsSync(path.join(root, NODE_BINARY))) return 'the Node binary is missing'
  for (const [location, { version, optional, devOptional }] of Object.entries(wanted)) {
    if (location === '') continue
    const present = installed[location]
    if (present === undefined && (optional || devOptional)) continue
    if (present?.version !== version)
      return `${location.replace(/^.*node_modules\//, '')} ${version} is wanted`
  }
  return null
}

/** @param {string} file */
function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? null
  } catch {
    return null
  }
}

/** @param {string} value */
function pathWithoutLocalBinaries(value) {
  return value
    .split(path.delimiter)
    .filter(folder => !folder.endsWith(path.join('node_modules', '.bin')))
    .join(path.delimiter)
}

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  console.error(message)
  process.exit(1)
}
