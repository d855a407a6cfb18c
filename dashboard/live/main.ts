import { RunId } from '../../protocol/ids.ts'
import { isWellFormedSecret } from '../../protocol/secrets.ts'
import type { ToViewer } from '../../protocol/stream.ts'
import { Connection, type Leave, type Phase } from './connection.ts'
import { takeControl } from './controls.ts'
import { Screen } from './screen.ts'

/** The page at `/live/{run id}`: one canvas, one line that says how it stands, and nothing in the URL to steal. */

const HEADLINES: Readonly<Record<Phase['phase'], string>> = {
  connecting: 'Connecting',
  waiting: 'Waiting',
  live: 'Live',
  ended: 'Ended',
  refused: 'Cannot be watched',
}

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`)
  return found
}

const stage = element('stage', HTMLElement)
const canvas = element('screen', HTMLCanvasElement)
const again = element('again', HTMLButtonElement)
const fit = element('fit', HTMLButtonElement)
const mode = element('mode', HTMLElement)

let page = { width: canvas.width, height: canvas.height }
let release: (() => void) | null = null

const runId = RunId.safeParse(location.pathname.split('/')[2])
const screen = new Screen(canvas, seq => {
  element('empty', HTMLElement).hidden = true
  connection?.send({ type: 'ack', seq })
})
const connection = runId.success
  ? new Connection({
      runId: runId.data,
      leave: leaveOf(runId.data),
      onPhase: show,
      onMessage: hear,
      onFrame: frame => screen.show(frame),
    })
  : null

if (connection === null) show({ phase: 'refused', reason: 'this is not the address of a run' })
else connection.start()

again.addEventListener('click', () => connection?.start())
fit.addEventListener('click', () => {
  const isFit = stage.dataset.fit !== 'true'
  stage.dataset.fit = String(isFit)
  fit.setAttribute('aria-pressed', String(isFit))
})
element('full', HTMLButtonElement).addEventListener('click', () => {
  if (document.fullscreenElement === null) void stage.requestFullscreen()
  else void document.exitFullscreen()
})
setInterval(() => {
  const { fps, delayMs } = screen.figures()
  const isLive = document.getElementById('state')?.dataset.phase === 'live'
  element('fps', HTMLElement).textContent = isLive ? fps.toFixed(fps < 10 ? 1 : 0) : '–'
  element('delay', HTMLElement).textContent = isLive ? `${Math.round(delayMs)} ms` : '–'
}, 1000)

function show({ phase, reason }: Phase): void {
  element('state', HTMLElement).dataset.phase = phase
  element('headline', HTMLElement).textContent = HEADLINES[phase]
  element('reason', HTMLElement).textContent = reason === '' ? '' : `– ${reason}`
  canvas.dataset.stale = String(phase !== 'live')
  if (phase === 'ended' || phase === 'refused') mode.hidden = true
  again.hidden = phase !== 'ended' && phase !== 'refused'
  document.title = `${HEADLINES[phase]} – live view`
}

function hear(message: ToViewer): void {
  if (message.type !== 'hello') return
  if (message.width !== null && message.height !== null)
    page = { width: message.width, height: message.height }
  mode.hidden = false
  mode.dataset.mode = message.mode
  mode.textContent = message.mode === 'control' ? 'You control this browser' : 'View only'
  mode.title =
    message.mode === 'control' ? 'Click the picture to type; Shift+Esc gives the keyboard back' : ''
  if (message.mode === 'control')
    release ??= takeControl(
      canvas,
      () => page,
      event => connection?.send({ type: 'input', event }),
    )
  else {
    release?.()
    release = null
  }
}

/**
 * A link's secret comes behind `#`, which no server sees. It is taken out of the address, where it could be read over
 * a shoulder or be kept in the history, and stays with this tab so that it can be loaded again.
 */
function leaveOf(id: string): Leave {
  const kept = `live-link ${id}`
  const secret = location.hash.slice(1)
  if (isWellFormedSecret('liveLink', secret)) {
    sessionStorage.setItem(kept, secret)
    history.replaceState(null, '', location.pathname + location.search)
    return { kind: 'link', link: secret }
  }
  const link = sessionStorage.getItem(kept)
  if (link !== null) return { kind: 'link', link }
  const wanted = new URLSearchParams(location.search).get('mode')
  return { kind: 'session', mode: wanted === 'control' ? 'control' : 'view' }
}
