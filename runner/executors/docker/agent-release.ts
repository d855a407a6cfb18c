import { releaseLine } from '../../../protocol/version.ts'
import type { ImageFacts } from './images.ts'

const AGENT_TITLE = 'Certyn agent'
const TITLE_LABEL = 'org.opencontainers.image.title'
const VERSION_LABEL = 'org.opencontainers.image.version'
/** The repository that the agent image is published in, in whatever registry. */
const AGENT_TAG = /(?:^|\/)certyn\/agent:([\w.-]+)(?:@|$)/
/** As much as a sync takes. */
const VERSION_LIMIT_CHARS = 64

/** @returns the release of an agent image, without a `v`; null for every other image, and for one that names none */
export function agentReleaseOf(reference: string, labels: ImageFacts['labels']): string | null {
  const isAgent = labels[TITLE_LABEL] === AGENT_TITLE
  const said = (isAgent ? labels[VERSION_LABEL] : undefined) ?? AGENT_TAG.exec(reference)?.[1] ?? ''
  const version = said.replace(/^v/, '')
  return releaseLine(version) === null || version.length > VERSION_LIMIT_CHARS ? null : version
}
