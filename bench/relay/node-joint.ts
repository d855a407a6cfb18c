import { type WebSocket, WebSocketServer } from 'ws'

/** The other anchor: a relay as one would write it with node's ws, in a process of its own, which says its port. */

const rooms = new Map<string, Set<WebSocket>>()
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false })
server.on('connection', (socket, { url = '' }) => {
  const [, session = '', role] = url.split('/')
  const viewers = rooms.get(session) ?? new Set()
  rooms.set(session, viewers)
  if (role === 'viewer') {
    viewers.add(socket)
    socket.on('message', () => undefined)
    socket.on('close', () => viewers.delete(socket))
    return
  }
  socket.on('message', data => {
    for (const viewer of viewers) viewer.send(data)
  })
})
server.once('listening', () => {
  const address = server.address()
  process.send?.(typeof address === 'object' ? address?.port : 0)
})
