import { queryOptions, useQuery } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { isTerminal, type Run } from '../../../protocol/run.ts'
import { messageOf } from '../../api/client.ts'
import { logUrl } from '../../api/runs.ts'
import { useSession } from '../../app/session-gate.tsx'
import { count } from '../../kit/count.ts'
import { TextField } from '../../kit/field.tsx'
import { Loading } from '../../kit/list.tsx'
import { useNow } from '../../kit/time.tsx'
import { Trouble } from '../../kit/trouble.tsx'
import { followLog, NOT_READ_YET } from './follow-log.ts'
import { LINES_KEPT, type LogLines } from './log-lines.ts'
import { readLogEnd } from './read-log.ts'
import { notYet, WROTE_NOTHING, whyEmpty } from './why-empty.ts'

interface LogViewProps {
  readonly run: Run
}

const logEndQuery = (runId: string) =>
  queryOptions({
    queryKey: ['runs', runId, 'log'],
    queryFn: ({ signal }) => readLogEnd(runId, signal),
  })

/** `<time> <stream> <text>`, as the runner writes it. */
const LINE = /^(\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)\S*) (stdout|stderr) (.*)$/s

export function LogView({ run }: LogViewProps) {
  const [wasOver] = useState(isTerminal(run.status))
  return (
    <section className="stack" aria-labelledby="log">
      <div className="section-head">
        <h2 id="log">Log</h2>
        <a href={logUrl(run.id)} download={`${run.id}.log`}>
          Download all of it
        </a>
      </div>
      {wasOver ? <EndedLogView run={run} /> : <FollowedLogView run={run} />}
    </section>
  )
}

interface LogProps {
  readonly log: LogLines
  readonly empty: string
  readonly isFollowing: boolean
}

function Log({ log, empty, isFollowing }: LogProps) {
  const [search, setSearch] = useState('')
  const wanted = search.toLowerCase()
  const shown = wanted === '' ? log.lines : log.lines.filter(line => line.toLowerCase().includes(wanted))
  if (log.lines.every(line => line === '')) return <p className="soft">{empty}</p>
  return (
    <>
      <TextField
        label="Search the log"
        type="search"
        value={search}
        onChange={setSearch}
        hint={
          wanted === ''
            ? log.isCut
              ? `The last ${LINES_KEPT} lines at most.`
              : undefined
            : count(shown.length, 'line')
        }
      />
      <Lines lines={shown} isFollowing={isFollowing && wanted === ''} />
    </>
  )
}

/** A run that was seen to end is followed to its end: the last lines come after it. */
function FollowedLogView({ run }: LogViewProps) {
  const [log, setLog] = useState(NOT_READ_YET)
  useEffect(() => followLog(run.id, setLog), [run.id])
  const empty = log.isOver ? WROTE_NOTHING : notYet(run)
  return (
    <>
      <p role="status" className={log.isLost ? 'caution' : 'visually-hidden'}>
        {log.isLost && 'The log does not come in at the moment. Trying again …'}
      </p>
      <Log log={log} empty={empty} isFollowing />
    </>
  )
}

function EndedLogView({ run }: LogViewProps) {
  const { data, error } = useQuery(logEndQuery(run.id))
  const { artifact_retention_days } = useSession()
  const now = useNow()
  if (data === undefined) return error === null ? <Loading /> : <Trouble>{messageOf(error)}</Trouble>
  const empty = whyEmpty(run, artifact_retention_days, now)
  return <Log log={data} empty={empty} isFollowing={false} />
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
