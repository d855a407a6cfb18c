/**
 * Runs in a viewer's page before its own scripts and remembers, with the time, every line the page says of the stream
 * and what every frame that it draws shows of the board, whose shape is put into `boardShape` beforehand.
 */
const { rows, bits } = globalThis.boardShape
const notes = { lines: [], drawn: [] }
globalThis.notes = notes

const draw = CanvasRenderingContext2D.prototype.drawImage
CanvasRenderingContext2D.prototype.drawImage = function (...args) {
  draw.apply(this, args)
  const { width, height } = this.canvas
  const { data } = this.getImageData(0, 0, width, height)
  const bitAt = (x, y) => {
    const column = Math.floor(((x + 0.5) / bits) * width)
    const line = Math.floor(((y + 0.5) / rows.length) * height)
    return data[(line * width + column) * 4] > 127 ? 1 : 0
  }
  const numberIn = y =>
    Array.from({ length: bits }, (_, x) => bitAt(x, y)).reduce((sum, bit) => sum * 2 + bit, 0)
  notes.drawn.push({ at: Date.now(), board: Object.fromEntries(rows.map((name, y) => [name, numberIn(y)])) })
}

document.addEventListener('DOMContentLoaded', () => {
  const state = document.getElementById('state')
  if (state === null) return
  const note = () => {
    const text = state.textContent.replaceAll(/\s+/g, ' ').trim()
    const last = notes.lines.at(-1)
    if (last?.text === text && last.phase === state.dataset.phase) return
    notes.lines.push({ at: Date.now(), phase: state.dataset.phase, text })
  }
  const everything = { subtree: true, childList: true, characterData: true, attributes: true }
  new MutationObserver(note).observe(state, everything)
  note()
})
