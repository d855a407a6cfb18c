import { useEffect, useRef, useState } from 'react'
import { logUrl } from '../../api/runs.ts'
import { TextField } from '../../kit/field.tsx'
import { followLog, LINES_KEPT, type LogLines, NO_LINES, readLogEnd } from './log-lines.ts'

interface LogViewProps {
  readonly runId: string
  readonly isOver: boolean
}

/** `<time> <stream> <text>`, as the runner writes it. */
const LINE = /^(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)\S*) (stdout|stderr) (.*)$/s

export function LogView({ runId, isOver }: LogViewProps) {
  const log = useLog(runId, isOver)
  const [search, setSearch] = useState('')
  const wanted = search.toLowerCase()
  const shown = wanted === '' ? log.lines : log.lines.filter(line => line.toLowerCase().includes(wanted))
  const isEmpty = log.lines.every(line => line === '')
  return (
    <section className="stack" aria-labelledby="log">
      <div className="actions">
        <h2 id="log">Log</h2>
        <a href={logUrl(runId)} download={`${runId}.log`}>
          Download all of it
        </a>
      </div>
      <TextField
        label="Search the log"
        type="search"
        value={search}
        onChange={setSearch}
        hint={
          wanted === '' ? (log.isCut ? `The last ${LINES_KEPT} lines at most.` : '') : `${shown.length} lines`
        }
      />
      {isEmpty ? (
        <p className="soft">{isOver ? 'The run wrote nothing.' : 'Nothing was written yet.'}</p>
      ) : (
        <Lines lines={shown} isFollowing={!isOver && wanted === ''} />
      )}
    </section>
  )
}

function useLog(runId: string, isOver: boolean): LogLines {
  const [log, setLog] = useState(NO_LINES)
  useEffect(() => {
    if (!isOver) return followLog(runId, setLog)
    const stop = new AbortController()
    readLogEnd(runId, stop.signal).then(setLog, () => undefined)
    return () => stop.abort()
  }, [runId, isOver])
  return log
}

/** Stays at the end as long as the reader does. */
function Lines({ lines, isFollowing }: { readonly lines: readonly string[]; readonly isFollowing: boolean }) {
  const box = useRef<HTMLDivElement>(null)
  const isAtEnd = useRef(true)
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are what moves the end
  useEffect(() => {
    const element = box.current
    if (element !== null && isFollowing && isAtEnd.current) element.scrollTop = element.scrollHeight
  }, [lines, isFollowing])
  return (
    <div
      className="log"
      role="log"
      aria-label="Log"
      aria-live="off"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it
      tabIndex={0}
      ref={box}
      onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
        isAtEnd.current = scrollHeight - scrollTop - clientHeight < 24
      }}
    >
      {lines.map((line, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a line is known by its place alone
        <Line key={i} line={line} />
      ))}
    </div>
  )
}

function Line({ line }: { readonly line: string }) {
  const [, exact, clock, stream, text] = LINE.exec(line) ?? []
  if (text === undefined) return <p>{line}</p>
  return (
    <p className={stream}>
      <time title={exact}>{clock}</time>
      {text}
    </p>
  )
}
