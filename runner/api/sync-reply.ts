import { z } from 'zod'
import { Command, Offer, SyncResponse } from '../../protocol/runner-api.ts'

/**
 * A control plane of a later release may say what this one does not know. That alone is left out: the leases of all
 * sessions are in the same reply, and must not run out for the sake of one word.
 */

const LeaseVerdict = SyncResponse.shape.leases.element

/** A reply without what is not understood; `ignored` says what that was. */
export type SyncReply = SyncResponse & { readonly ignored: readonly string[] }

/** It is for people; what the runner is to do is in the lists. */
const Runner = SyncResponse.shape.runner.extend({
  state: SyncResponse.shape.runner.shape.state.or(z.string().transform(() => 'active' as const)),
})

export const SyncReply = SyncResponse.extend({
  runner: Runner,
  offers: z.array(z.unknown()),
  commands: z.array(z.unknown()),
  leases: z.array(z.unknown()),
}).transform((reply): SyncReply => {
  const ignored: string[] = []
  const known = <Schema extends z.ZodType>(list: string, items: readonly unknown[], schema: Schema) =>
    items.flatMap((item, index) => {
      const parsed = schema.safeParse(item)
      if (parsed.success) return [parsed.data]
      const issue = parsed.error.issues[0]
      ignored.push(`${[list, index, ...(issue?.path ?? [])].map(String).join('.')}: ${issue?.message}`)
      return []
    })
  return {
    ...reply,
    offers: known('offers', reply.offers, Offer),
    commands: known('commands', reply.commands, Command),
    leases: known('leases', reply.leases, LeaseVerdict),
    ignored,
  }
})
