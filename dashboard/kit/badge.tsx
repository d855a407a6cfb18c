import type { ReactNode } from 'react'

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'calm'

/** A state in a word; its colour only repeats what the word says. */
export function Badge({ tone, children }: { readonly tone: Tone; readonly children: ReactNode }) {
  return <span className={`badge ${tone}`}>{children}</span>
}
