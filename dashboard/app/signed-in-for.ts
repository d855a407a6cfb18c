import { RunId } from '../../protocol/ids.ts'

/**
 * The live page is no part of the dashboard and sends whoever is not signed in here, with its own address.
 * @returns that address; null for any other, or a link to this page could lead anywhere
 */
export function signedInFor(search: string): string | null {
  const then = new URLSearchParams(search).get('then') ?? ''
  const [, runId] = /^\/live\/([^/?]+)(?:\?mode=(?:view|control))?$/.exec(then) ?? []
  return RunId.safeParse(runId).success ? then : null
}
