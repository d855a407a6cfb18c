import { once } from 'node:events'
import type { WriteStream } from 'node:tty'
import { styleText } from 'node:util'
import type { RunStatus } from '../../protocol/run.ts'
import { redacted } from '../settings.ts'
import { cut } from './table.ts'

export interface Streams {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

/**
 * Results go to the standard output, as text or, with `--json`, as documents; everything said about them goes to the
 * error stream. What is no terminal gets no colour, no cut line and no line that changes.
 */
export class Output {
  readonly isJson: boolean
  readonly #streams: Streams
  #status = ''

  constructor(streams: Streams, isJson: boolean) {
    this.#streams = streams
    this.isJson = isJson
  }

  /** Of the terminal that results are shown on; null when it is none. */
  get width(): number | null {
    return widthOf(this.#streams.stdout)
  }

  /** Whether a line that changes can be shown. */
  get isLive(): boolean {
    return !this.isJson && widthOf(this.#streams.stderr) !== null
  }

  /** A result: its document, or its text. */
  show(document: unknown, lines: () => readonly string[]): void {
    if (this.isJson) this.#write(JSON.stringify(document, null, 2))
    else this.print(...lines())
  }

  /** One of many documents, or lines: one a line. */
  item(document: unknown, line: () => string): void {
    this.#write(this.isJson ? JSON.stringify(document) : line())
  }

  print(...lines: readonly string[]): void {
    for (const line of lines) this.#write(line)
  }

  /** Bytes or text as they are. Resolves when there is room for more. */
  async raw(data: Uint8Array | string): Promise<void> {
    this.#clear()
    if (data.length > 0 && !this.#streams.stdout.write(data)) await once(this.#streams.stdout, 'drain')
  }

  /** To whoever is looking; programs read the documents. */
  note(text: string): void {
    if (this.isJson) return
    this.#clear()
    this.#streams.stderr.write(`${redacted(text)}\n`)
    this.#draw()
  }

  /** The line that changes; an empty one takes it away. */
  status(text: string): void {
    if (!this.isLive) return
    this.#clear()
    this.#status = text
    this.#draw()
  }

  /** A text in the place of the one before, on a terminal. */
  redraw(lines: readonly string[]): void {
    if (this.width !== null) this.#streams.stdout.write('\x1b[H\x1b[2J')
    this.print(...lines)
  }

  colour(status: RunStatus | 'online' | 'draining' | 'offline' | 'active', text: string = status): string {
    return styleText(COLOURS[status], text, { stream: this.#streams.stdout })
  }

  #write(line: string): void {
    this.#clear()
    this.#streams.stdout.write(`${line}\n`)
    this.#draw()
  }

  #clear(): void {
    if (this.#status !== '') this.#streams.stderr.write('\r\x1b[2K')
  }

  #draw(): void {
    const width = widthOf(this.#streams.stderr)
    if (this.#status !== '' && width !== null) this.#streams.stderr.write(cut(this.#status, width - 1))
  }
}

function widthOf(stream: NodeJS.WriteStream): number | null {
  return stream.isTTY ? ((stream as WriteStream).columns ?? 80) : null
}

const COLOURS = {
  queued: 'yellow',
  offered: 'yellow',
  starting: 'cyan',
  running: 'cyan',
  stopping: 'yellow',
  succeeded: 'green',
  failed: 'red',
  timed_out: 'red',
  cancelled: 'gray',
  lost: 'red',
  online: 'green',
  active: 'green',
  draining: 'yellow',
  offline: 'red',
} as const
