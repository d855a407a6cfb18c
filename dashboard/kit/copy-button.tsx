import { useState } from 'react'
import { Button } from './button.tsx'

const SAID_MS = 2_000

/** @param what named in the label, so that several on one page can be told apart */
export function CopyButton({ text, what }: { readonly text: string; readonly what: string }) {
  const [said, setSaid] = useState<string | null>(null)
  const copy = async () => {
    const done = await navigator.clipboard.writeText(text).then(
      () => 'Copied',
      () => 'Select and copy it by hand',
    )
    setSaid(done)
    setTimeout(() => setSaid(null), SAID_MS)
  }
  return (
    <Button onClick={() => void copy()} aria-label={`Copy ${what}`}>
      <span role="status">{said ?? 'Copy'}</span>
    </Button>
  )
}
