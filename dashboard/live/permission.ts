import { isWellFormedSecret } from '../../protocol/secrets.ts'
import type { WatchMode } from '../../protocol/stream.ts'

/** How this page may watch: by a link, or as whoever is signed in. */
export type Permission =
  | { readonly kind: 'link'; readonly link: string }
  | { readonly kind: 'session'; readonly mode: WatchMode }

/**
 * @param fragment of the address, with its `#`: where a link has its secret, which no server sees
 * @param kept link of this tab, if it was opened with one
 * @returns null for what is left of a link that was not copied wholly
 */
export function permissionOf(fragment: string, search: string, kept: string | null): Permission | null {
  const secret = fragment.replace(/^#/, '')
  if (secret !== '') return isWellFormedSecret('liveLink', secret) ? { kind: 'link', link: secret } : null
  if (kept !== null) return { kind: 'link', link: kept }
  const wanted = new URLSearchParams(search).get('mode')
  return { kind: 'session', mode: wanted === 'control' ? 'control' : 'view' }
}
