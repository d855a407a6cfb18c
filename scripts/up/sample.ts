import { accessSync, constants, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type Docker from 'dockerode'
import { agentBundle } from '../build/agent-bundle.ts'
import { ensureSampleImage } from './sample-image.ts'

/** What the sample runs in, and whether there is a browser in it to be watched. */
export interface Sample {
  readonly image: string
  /** A browser is at hand. */
  readonly live: boolean
  readonly run: (seconds: number) => {
    readonly command: readonly string[]
    readonly env?: Readonly<Record<string, string>>
  }
}

const HELLO = ['node', '-e', 'console.log("Hello from a Certyn session, Node " + process.version)']
const LIVE_PAGE = fileURLToPath(new URL('live-page.mjs', import.meta.url))
/** Of agent/Dockerfile. */
const AGENT_LABEL = 'org.opencontainers.image.title=Certyn agent'
const MAKE_AGENT_IMAGE =
  'npm run build && docker build -f agent/Dockerfile -t certyn/agent:v0.1.0 .   (a few minutes; needs a registry)'
const CHROMIUM_NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

const withoutBrowser = (image: string): Sample => ({ image, live: false, run: () => ({ command: HELLO }) })

/** In the agent image where it was made before: making it here would be minutes that nobody asked for. */
export async function dockerSample(docker: Docker): Promise<Sample> {
  const images = await docker.listImages({ filters: JSON.stringify({ label: [AGENT_LABEL] }) })
  const newest = images.filter(({ RepoTags }) => isTagged(RepoTags)).sort((a, b) => b.Created - a.Created)[0]
  const image = newest?.RepoTags?.[0]
  if (image === undefined) {
    console.log(
      `No agent image here, so the sample opens no page. To watch one live, make it once:\n  ${MAKE_AGENT_IMAGE}`,
    )
    return withoutBrowser(await ensureSampleImage(docker))
  }
  return { image, live: true, run: seconds => liveRun(['node'], seconds) }
}

/** With this host's Chromium, where there is one, beside the agent as a plain process. */
export async function hostSample(root: string): Promise<Sample> {
  const image = 'certyn/sample:host'
  const chromium = findProgram(CHROMIUM_NAMES)
  if (chromium === null) {
    console.log('No Chromium on this host, so the sample opens no page; install it to watch one live.')
    return withoutBrowser(image)
  }
  await agentBundle(root)
  const agent = [process.execPath, path.join(root, 'dist', 'agent', 'agent.mjs'), process.execPath]
  return { image, live: true, run: seconds => liveRun(agent, seconds, { CERTYN_CHROMIUM: chromium }) }
}

function liveRun(node: readonly string[], seconds: number, more: Readonly<Record<string, string>> = {}) {
  const command = [...node, '--input-type=module', '-e', readFileSync(LIVE_PAGE, 'utf8'), String(seconds)]
  return { command, env: more }
}

/** An image that another one has taken the name of has none. */
function isTagged(tags: readonly string[] | null | undefined): boolean {
  return tags?.[0] !== undefined && tags[0] !== '<none>:<none>'
}

function findProgram(names: readonly string[]): string | null {
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter(folder => path.isAbsolute(folder))
  for (const file of names.flatMap(name => folders.map(folder => path.join(folder, name)))) {
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // Not there, or not for this user.
    }
  }
  return null
}
