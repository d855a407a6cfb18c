import type { WebSocket } from 'ws'

/** A message in whichever form the library hands it over. */
export function bytesOf(data: WebSocket.RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data
}
