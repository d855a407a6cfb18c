/**
 * Answers the close of the other end. It may have closed with whatever number it likes; of those only 1000 and 3000 to
 * 4999 may be sent (https://websockets.spec.whatwg.org/#dom-websocket-close), and for the rest 1000 has to do.
 */
export function echoClose(socket: WebSocket, code: number): void {
  if (socket.readyState === WebSocket.CLOSED) return
  const isSendable = code === 1000 || (code >= 3000 && code <= 4999)
  try {
    socket.close(isSendable ? code : 1000)
  } catch {
    // It has broken meanwhile, and is as closed as it can be.
  }
}
