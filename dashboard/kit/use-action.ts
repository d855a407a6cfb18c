import { useMutation, useQueryClient } from '@tanstack/react-query'
import { messageOf } from '../api/client.ts'
import { say } from './notices.tsx'

/**
 * Something the user does: says what it did, or why it was not done, and has the lists it changes read again.
 * @param done what to say afterwards
 * @param changes query keys
 * @param whereTrouble a form shows by itself why it was refused
 */
export function useAction<Input, Output>(
  act: (input: Input) => Promise<Output>,
  done: (output: Output, input: Input) => string,
  changes: readonly (readonly unknown[])[],
  whereTrouble: 'notice' | 'form' = 'notice',
) {
  const queries = useQueryClient()
  return useMutation({
    mutationFn: act,
    onSuccess: async (output, input) => {
      say(done(output, input))
      await Promise.all(changes.map(queryKey => queries.invalidateQueries({ queryKey })))
    },
    onError: error => {
      if (whereTrouble === 'notice') say(messageOf(error), true)
    },
  })
}
