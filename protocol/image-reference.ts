import * as z from 'zod'

// Grammar of github.com/distribution/reference: [domain/]path[:tag][@digest].
const DOMAIN_COMPONENT = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])'
const DOMAIN = `(?:${DOMAIN_COMPONENT}(?:\\.${DOMAIN_COMPONENT})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`
const PATH_COMPONENT = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const TAG = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}'
const DIGEST = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}'
const REFERENCE = new RegExp(
  `^(?:${DOMAIN}/)?${PATH_COMPONENT}(?:/${PATH_COMPONENT})*(?::${TAG})?(?:@${DIGEST})?$`,
)

/** The longest repository name, registry included, that registries and the Engine accept. */
const NAME_LIMIT_CHARS = 255
/** Tag and digest come on top of the name. */
const REFERENCE_LIMIT_CHARS = 512
/** The Engine takes this for an image id, which names nothing that could be pulled. */
const BARE_ID = /^[0-9a-f]{64}$/

function nameOf(reference: string): string {
  const [tagged = ''] = reference.split('@')
  return tagged.replace(/:[^/:]*$/, '')
}

export const ImageReference = z
  .string()
  .max(REFERENCE_LIMIT_CHARS)
  .regex(REFERENCE, 'not a valid image reference, for example registry.example/team/agent:v1.2.3')
  .refine(
    reference => nameOf(reference).length <= NAME_LIMIT_CHARS,
    `the repository name is longer than ${NAME_LIMIT_CHARS} characters`,
  )
  .refine(reference => !BARE_ID.test(reference), 'an image id is not a reference; name a repository')
