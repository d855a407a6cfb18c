/** Enough of an id to recognise it by; its link is the whole one. */
export function shortId(id: string): string {
  return `${id.slice(0, 4)}…${id.slice(-6)}`
}
