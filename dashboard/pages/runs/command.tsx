import { useState } from 'react'
import { Button } from '../../kit/button.tsx'

/** So much of it is shown unasked: some lines on a phone. */
const SHORT_CHARS = 160

/** What is run, as far as it tells one run from another; a program may well be handed in whole. */
export function Command({ command }: { readonly command: readonly string[] }) {
  const [isOpen, setOpen] = useState(false)
  const whole = command.join(' ')
  const isLong = whole.length > SHORT_CHARS || whole.split('\n').length > 3
  const start = whole.split('\n').slice(0, 3).join('\n').slice(0, SHORT_CHARS).toWellFormed()
  return (
    <>
      <pre className="command">{isOpen || !isLong ? whole : `${start} …`}</pre>
      {isLong && (
        <Button look="quiet" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? 'Show less of the command' : 'Show all of the command'}
        </Button>
      )}
    </>
  )
}
