import { Socket } from 'node:net'
import { followNpm, startedByNpm } from './npm.mjs'

/**
 * Loaded before a program that was started through npm or through launch.mjs: when what started it is killed
 * without a chance to pass the signal on, the program is killed too. Otherwise `kill -9` of an `npm run`
 * would leave a control plane on its port and a daemon on its state.
 *
 * The launcher holds the other end of a pipe; npm holds nothing, so its being the parent is watched instead.
 * A program started by hand, in a shell that is then closed, follows nobody.
 */
const lifeline = process.env.CERTYN_LIFELINE_FD
delete process.env.CERTYN_LIFELINE_FD

if (lifeline !== undefined) {
  const socket = new Socket({ fd: Number(lifeline), readable: true, writable: false })
  socket.on('error', die)
  socket.on('close', die)
  socket.resume()
  socket.unref()
} else if (startedByNpm()) {
  followNpm(die)
}
// Programs that this one starts are not children of npm.
delete process.env.npm_lifecycle_event

function die() {
  process.kill(process.pid, 'SIGKILL')
}
