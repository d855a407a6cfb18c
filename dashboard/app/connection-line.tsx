import { useQueryClient } from '@tanstack/react-query'
import { useSyncExternalStore } from 'react'
import { Unreachable } from '../api/client.ts'

/** Says when what is on screen can no longer be read again. It goes away by itself. */
export function ConnectionLine() {
  const cache = useQueryClient().getQueryCache()
  const isLost = useSyncExternalStore(
    changed => cache.subscribe(changed),
    () =>
      cache
        .findAll({ type: 'active' })
        .some(
          ({ state }) =>
            state.fetchFailureReason instanceof Unreachable || state.error instanceof Unreachable,
        ),
  )
  return (
    <div role="status">
      {isLost && (
        <p className="lost">The control plane cannot be reached; what you see may be old. Trying again …</p>
      )}
    </div>
  )
}
