/** One event at most holds so much, and so much of a line without an end is waited for. */
const EVENT_BYTES = 64 * 1024
const NEWLINE = 0x0a

export interface LogText {
  /** Where it begins in the log. */
  readonly at: number
  readonly text: string
  readonly end: number
}

/**
 * What becomes of a last line without an end: it is held until there is more of it, shown as far as its characters are
 * whole, or, when nothing follows, given to its last byte.
 */
export type OpenLine = 'held' | 'shown' | 'last'

/** Cuts a log into texts of whole lines, longer ones between characters. Holds no more than one event and one piece. */
export async function* linesOf(
  pieces: AsyncIterable<Uint8Array>,
  start: number,
  openLine: OpenLine,
): AsyncGenerator<LogText> {
  let held = new Uint8Array()
  let at = start
  for await (const piece of pieces) {
    held = joined(held, piece)
    for (let cut = cutOf(held); cut > 0; cut = cutOf(held)) {
      yield { at, text: textOf(held.subarray(0, cut)), end: at + cut }
      at += cut
      held = held.subarray(cut)
    }
  }
  const rest = openLine === 'last' ? held.length : openLine === 'shown' ? wholeCharacters(held) : 0
  if (rest > 0) yield { at, text: textOf(held.subarray(0, rest)), end: at + rest }
}

/** @returns how much of it makes an event now; 0: more has to come */
function cutOf(held: Uint8Array): number {
  const newline = held.subarray(0, EVENT_BYTES).lastIndexOf(NEWLINE)
  if (newline !== -1) return newline + 1
  if (held.length <= EVENT_BYTES) return 0
  // Not in the middle of a character: back over the bytes that only continue one.
  let cut = EVENT_BYTES
  while (cut > EVENT_BYTES - 4 && ((held[cut] ?? 0) & 0xc0) === 0x80) cut -= 1
  return cut
}

/** @returns how many of the bytes to give so that no character is cut; what is no UTF-8 is whole */
function wholeCharacters(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if ((byte & 0xc0) === 0x80) continue
    const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return size > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}

function textOf(bytes: Uint8Array): string {
  // A byte order mark is a character of the log like any other.
  return new TextDecoder('utf-8', { fatal: false, ignoreBOM: true }).decode(bytes)
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}
