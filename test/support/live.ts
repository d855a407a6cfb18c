import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import path from 'node:path'
import { HAS_ENGINE } from './engine.ts'
import { ROOT } from './process.ts'

/** What the live view needs beside an Engine: the agent image for the run, and a browser for whoever watches it. */

const REQUIRED = process.env.CERTYN_REQUIRE_DOCKER === '1'
const CHROMIUM_PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** A browser of this host, or undefined. */
export const CHROMIUM = CHROMIUM_PLACES.find(isProgram)
if (REQUIRED && CHROMIUM === undefined) {
  throw new Error(
    'CERTYN_REQUIRE_DOCKER=1, but no Chromium is installed to watch with: apt-get install chromium',
  )
}

/** The image is not made unasked: without a registry that takes root, debootstrap and minutes. */
export const CAN_WATCH =
  HAS_ENGINE && CHROMIUM !== undefined && (REQUIRED || process.env.CERTYN_AGENT_IMAGE !== undefined)

/** @returns a reference of the local agent image */
export function agentImage(): string {
  const given = process.env.CERTYN_AGENT_IMAGE
  if (given !== undefined) return given
  const made = spawnSync(path.join(ROOT, 'scripts/images/agent-image.sh'), { encoding: 'utf8' })
  if (made.status !== 0) throw new Error(`the agent image could not be made:\n${made.stderr}`)
  return made.stdout.trim()
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
