import { parseJson } from '../../protocol/json.ts'
import {
  FromPublisher,
  FromViewer,
  readAck,
  readMessage,
  STREAM_TEXT_LIMIT_BYTES,
} from '../../protocol/stream.ts'

/** @returns null for what no viewer has reason to send */
export function fromViewer(message: string | ArrayBuffer): FromViewer | null {
  if (typeof message !== 'string') return null
  const seq = readAck(message)
  return seq === null ? readFromViewer(message) : { type: 'ack', seq }
}

/** @returns null for what no publisher has reason to send as text */
export function fromPublisher(text: string): ReturnType<typeof readMessage<FromPublisher>> {
  return text.length > STREAM_TEXT_LIMIT_BYTES ? null : readMessage(FromPublisher, text)
}

function readFromViewer(text: string): FromViewer | null {
  if (text.length > STREAM_TEXT_LIMIT_BYTES) return null
  const json = parseJson(text)
  const parsed = FromViewer.safeParse(json.ok ? json.value : undefined)
  return parsed.success ? parsed.data : null
}
