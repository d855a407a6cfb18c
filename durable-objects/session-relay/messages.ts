import { parseJson } from '../../protocol/json.ts'
import { FromPublisher, FromViewer, readAck, STREAM_TEXT_LIMIT_BYTES } from '../../protocol/stream.ts'

/** @returns null for what no viewer has reason to send */
export function fromViewer(message: string | ArrayBuffer): FromViewer | null {
  if (typeof message !== 'string') return null
  const seq = readAck(message)
  return seq === null ? read(message, FromViewer) : { type: 'ack', seq }
}

/** @returns null for what no publisher has reason to send as text */
export function fromPublisher(text: string): FromPublisher | null {
  return read(text, FromPublisher)
}

function read<T>(
  text: string,
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
): T | null {
  if (text.length > STREAM_TEXT_LIMIT_BYTES) return null
  const json = parseJson(text)
  const parsed = schema.safeParse(json.ok ? json.value : undefined)
  return parsed.success ? parsed.data : null
}
