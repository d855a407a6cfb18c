import { RunId } from '../../protocol/ids.ts'
import type { ToViewer, WatchMode } from '../../protocol/stream.ts'
import { shortId } from '../kit/ids.ts'
import { Connection } from './connection.ts'
import { takeControl } from './controls.ts'
import { type Permission, permissionOf } from './permission.ts'
import { HEADLINES, insteadOfPicture, type Phase } from './phase.ts'
import { nameRun } from './run-name.ts'
import { Screen } from './screen.ts'

/** The page at `/live/{run id}`: one canvas, one line that says how it stands, and nothing in the URL to steal. */

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`)
  return found
}

const stage = element('stage', HTMLElement)
const canvas = element('screen', HTMLCanvasElement)
const again = element('again', HTMLButtonElement)
const signIn = element('sign-in', HTMLAnchorElement)
const runs = element('runs', HTMLAnchorElement)
const fit = element('fit', HTMLButtonElement)
const full = element('full', HTMLButtonElement)
const badge = element('mode', HTMLElement)

let page = { width: canvas.width, height: canvas.height }
let mode: WatchMode | null = null
let phase: Phase['phase'] = 'connecting'
let release: (() => void) | null = null

const runId = RunId.safeParse(location.pathname.split('/')[2]).data
const screen = new Screen(canvas, seq => {
  stage.dataset.picture = 'some'
  connection?.send({ type: 'ack', seq })
})
const connection = runId === undefined ? null : connectionTo(runId)

function connectionTo(id: string): Connection | null {
  void nameRun(element('run', HTMLElement), id)
  const permission = arriveWith(id)
  if (permission === null) {
    show({ phase: 'refused', reason: 'the link is incomplete; copy all of it' })
    return null
  }
  return new Connection({
    runId: id,
    permission,
    onPhase: show,
    onMessage: hear,
    onFrame: frame => screen.show(frame),
  })
}

if (runId === undefined)
  show({ phase: 'refused', reason: 'this is not the address of a run', remedy: 'find_run' })
connection?.start()

signIn.href = `/?then=${encodeURIComponent(location.pathname + location.search)}`
again.addEventListener('click', () => connection?.start())
fit.addEventListener('click', () => {
  const isFit = stage.dataset.fit !== 'true'
  stage.dataset.fit = String(isFit)
  fit.setAttribute('aria-pressed', String(isFit))
})
full.hidden = !document.fullscreenEnabled
full.addEventListener('click', () => {
  // All of the page, so that the line that says how it stands is on top of the picture.
  if (document.fullscreenElement === null) void document.documentElement.requestFullscreen()
  else void document.exitFullscreen()
})
document.addEventListener('fullscreenchange', () => {
  full.textContent = document.fullscreenElement === null ? 'Full screen' : 'Leave full screen'
})
// Another link to the same run is opened in this tab without the page being loaded again.
addEventListener('hashchange', () => location.reload())
setInterval(() => {
  const { fps, delayMs } = screen.figures()
  const isLive = phase === 'live'
  const rate = fps === 0 ? 'still' : fps.toFixed(fps < 10 ? 1 : 0)
  element('fps', HTMLElement).textContent = isLive ? rate : '–'
  element('delay', HTMLElement).textContent = isLive ? `${Math.round(delayMs)} ms` : '–'
}, 1000)

function show(next: Phase): void {
  const { reason, remedy } = next
  phase = next.phase
  document.body.dataset.phase = phase
  element('state', HTMLElement).dataset.phase = phase
  say('headline', HEADLINES[phase])
  say('reason', reason === '' ? '' : `– ${reason}`)
  say('empty', insteadOfPicture(next))
  canvas.dataset.stale = String(phase !== 'live')
  again.hidden = remedy !== 'try_again'
  signIn.hidden = remedy !== 'sign_in'
  runs.hidden = remedy !== 'find_run'
  document.title = `${HEADLINES[phase]} – ${runId === undefined ? 'live view' : `run ${shortId(runId)}`}`
  if (phase === 'ended' || phase === 'refused') leaveControl()
  showMode()
}

/** Once for each change: what is written again is read out again. */
function say(id: string, text: string): void {
  const place = element(id, HTMLElement)
  if (place.textContent !== text) place.textContent = text
}

function showMode(): void {
  const isOff = mode === 'control' && phase !== 'live'
  badge.hidden = mode === null
  badge.dataset.mode = isOff ? 'off' : (mode ?? 'off')
  const control = isOff ? 'Input is off' : 'You control this browser'
  say('mode', mode === 'control' ? control : 'View only')
}

function hear(message: ToViewer): void {
  if (message.type !== 'hello') return
  if (message.width !== null && message.height !== null)
    page = { width: message.width, height: message.height }
  if (message.mode === 'view') leaveControl()
  else
    release ??= takeControl(
      canvas,
      () => page,
      // What is done to a picture that is old is not for the page as it is now.
      event => phase === 'live' && connection?.send({ type: 'input', event }),
    )
  mode = message.mode
  showMode()
}

function leaveControl(): void {
  release?.()
  release = null
  mode = null
}

/**
 * A link's secret is taken out of the address, where it could be read over a shoulder or be kept in the history, and
 * stays with this tab so that it can be loaded again. What is left of one is taken out too.
 */
function arriveWith(id: string): Permission | null {
  const key = `live-link ${id}`
  const permission = permissionOf(location.hash, location.search, sessionStorage.getItem(key))
  if (permission?.kind === 'link') sessionStorage.setItem(key, permission.link)
  if (location.hash !== '') history.replaceState(null, '', location.pathname + location.search)
  return permission
}
