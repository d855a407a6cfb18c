/** `2026-01-01T00:00:00.000000000Z stdout `, in front of every line of a log. */
const PREFIX = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (?:stdout|stderr) /
const PREFIX_CHARS = 38
/** As far as it is the same for both streams; a 0 stands for any digit. */
const SHAPE = '0000-00-00T00:00:00.000000000Z std'

/**
 * A log without the time and the stream in front of its lines, as it comes. Works on characters and, given as
 * latin1, on bytes.
 */
export class PlainLog {
  /** The beginning of a line that may still turn out to be a prefix. */
  #held = ''
  #isInLine = false

  push(piece: string): string {
    let plain = ''
    let rest = this.#held + piece
    this.#held = ''
    while (rest !== '') {
      if (!this.#isInLine && mayBecomePrefix(rest)) {
        this.#held = rest
        return plain
      }
      const newline = rest.indexOf('\n')
      const line = newline === -1 ? rest : rest.slice(0, newline + 1)
      plain += this.#isInLine ? line : line.replace(PREFIX, '')
      this.#isInLine = newline === -1
      rest = rest.slice(line.length)
    }
    return plain
  }

  /** What is left when nothing follows. */
  end(): string {
    const rest = this.#held.replace(PREFIX, '')
    this.#held = ''
    return rest
  }
}

/** A prompt, which has no end, is to be seen at once. */
function mayBecomePrefix(text: string): boolean {
  return text.length < PREFIX_CHARS && SHAPE.startsWith(text.slice(0, SHAPE.length).replaceAll(/\d/g, '0'))
}
