import { type RefObject, useEffect, useRef, useState } from 'react'
import type { WatchMode } from '../../../protocol/stream.ts'
import { useMay } from '../../app/session-gate.tsx'
import { Badge, type Tone } from '../../kit/badge.tsx'
import { Button } from '../../kit/button.tsx'
import { Connection, type Phase } from '../../live/connection.ts'
import { takeControl } from '../../live/controls.ts'
import { Screen } from '../../live/screen.ts'
import { ShareDialog } from './share-dialog.tsx'

const PHASES: Readonly<Record<Phase['phase'], { readonly word: string; readonly tone: Tone }>> = {
  connecting: { word: 'connecting', tone: 'warn' },
  waiting: { word: 'waiting', tone: 'warn' },
  live: { word: 'live', tone: 'good' },
  ended: { word: 'ended', tone: 'calm' },
  refused: { word: 'cannot be watched', tone: 'bad' },
}

/** The browser of the run, through the relay. Nothing is streamed before somebody asks for it. */
export default function LiveView({ runId }: { readonly runId: string }) {
  const mayControl = useMay('member')
  const [mode, setMode] = useState<WatchMode | null>(null)
  const [isSharing, setSharing] = useState(false)
  return (
    <>
      <div className="actions">
        {mode === null ? (
          <Button look="primary" onClick={() => setMode('view')}>
            Watch
          </Button>
        ) : (
          <Button onClick={() => setMode(null)}>Stop watching</Button>
        )}
        {mayControl && mode !== null && (
          <Button
            aria-pressed={mode === 'control'}
            onClick={() => setMode(mode === 'control' ? 'view' : 'control')}
          >
            {mode === 'control' ? 'Give control back' : 'Take control'}
          </Button>
        )}
        {mayControl && <Button onClick={() => setSharing(true)}>Share a live link</Button>}
      </div>
      {mode !== null && <Picture runId={runId} mode={mode} />}
      {isSharing && <ShareDialog runId={runId} onClose={() => setSharing(false)} />}
    </>
  )
}

function Picture({ runId, mode }: { readonly runId: string; readonly mode: WatchMode }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const { mode: held, phase, reason } = useWatching(canvas, runId, mode)
  const { word, tone } = PHASES[phase]
  return (
    <figure className="live">
      <figcaption role="status">
        <Badge tone={tone}>{word}</Badge> {reason}{' '}
        {held === 'control' && phase === 'live' && (
          <strong>You control this browser; Shift+Esc gives the keyboard back.</strong>
        )}
      </figcaption>
      <canvas ref={canvas} width={1280} height={720} role="img" aria-label="The browser of the run" />
    </figure>
  )
}

interface Watched extends Phase {
  readonly mode: WatchMode
}

/**
 * The line in another mode is there before the one before it goes: the picture stays, and the runner is not told to
 * end a stream that it would have to begin again at once.
 */
function useWatching(canvas: RefObject<HTMLCanvasElement | null>, runId: string, mode: WatchMode): Watched {
  const [shown, setShown] = useState<Watched>({ mode, phase: 'connecting', reason: '' })
  const stop = useRef<(() => void) | null>(null)
  useEffect(() => {
    if (canvas.current === null) return
    let before = stop.current
    const leave = () => {
      before?.()
      before = null
    }
    const end = watch(canvas.current, runId, mode, phase => {
      if (before !== null && phase.phase === 'connecting') return
      leave()
      setShown({ ...phase, mode })
    })
    stop.current = () => {
      leave()
      end()
    }
  }, [canvas, runId, mode])
  useEffect(() => () => stop.current?.(), [])
  return shown
}

/** @returns a function that ends it */
function watch(
  canvas: HTMLCanvasElement,
  runId: string,
  mode: WatchMode,
  onPhase: (phase: Phase) => void,
): () => void {
  let page = { width: canvas.width, height: canvas.height }
  let release: (() => void) | null = null
  let isLive = false
  const screen = new Screen(canvas, seq => connection.send({ type: 'ack', seq }))
  const connection = new Connection({
    runId,
    permission: { kind: 'session', mode },
    onPhase: phase => {
      onPhase(phase)
      isLive = phase.phase === 'live'
      if (mode === 'control' && isLive)
        release ??= takeControl(
          canvas,
          () => page,
          // What is done to a picture that is old is not for the page as it is now.
          event => isLive && connection.send({ type: 'input', event }),
        )
      if (phase.phase !== 'ended' && phase.phase !== 'refused') return
      release?.()
      release = null
    },
    onMessage: message => {
      if (message.type !== 'hello' || message.width === null || message.height === null) return
      page = { width: message.width, height: message.height }
    },
    onFrame: frame => screen.show(frame),
  })
  connection.start()
  return () => {
    release?.()
    connection.stop()
  }
}
