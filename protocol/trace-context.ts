import * as z from 'zod'

/** W3C Trace Context, version 00: of which trace something is, which span caused it, and whether it is kept. */
export const TraceParent = z
  .string()
  .regex(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/, 'expected a W3C traceparent')
export type TraceParent = z.infer<typeof TraceParent>
