import { node } from './jobs.ts'

/**
 * A page that shows what it knows as rows of black and white blocks, so that it can be read off any picture of it,
 * however it was scaled and compressed. Each row is a number of sixteen bits, the highest first.
 */
export const BOARD_ROWS = ['mark', 'count', 'clicks', 'keys', 'text', 'scrolled'] as const
export type Board = Readonly<Record<(typeof BOARD_ROWS)[number], number>>
export const BOARD_BITS = 16

const PAGE = `<!doctype html><title>board</title>
<style>
  html, body { margin: 0; height: 100%; overflow: hidden; background: #000 }
  main { display: grid; grid: repeat(${BOARD_ROWS.length}, 1fr) / repeat(${BOARD_BITS}, 1fr); height: 100vh }
  textarea { position: fixed; opacity: 0; width: 1px; height: 1px; border: 0 }
</style>
<main></main><textarea autofocus></textarea>
<script>
  const rows = ${JSON.stringify(BOARD_ROWS)}
  const state = { mark: MARK, count: 0, clicks: 0, keys: 0, text: 0, scrolled: 0 }
  const main = document.querySelector('main'), field = document.querySelector('textarea')
  const blocks = rows.map(() => Array.from({ length: ${BOARD_BITS} }, () => main.appendChild(document.createElement('i'))))
  const show = () => rows.forEach((row, y) => blocks[y].forEach((block, x) => {
    block.style.background = state[row] >> (${BOARD_BITS - 1} - x) & 1 ? '#fff' : '#000'
  }))
  addEventListener('click', () => { state.clicks++; field.focus(); show() })
  addEventListener('keydown', () => { state.keys++; show() })
  addEventListener('wheel', event => { state.scrolled += event.deltaY; show() })
  field.addEventListener('input', () => {
    const [second, last] = field.value.padStart(2, '\\0').slice(-2)
    state.text = second.charCodeAt(0) << 8 | last.charCodeAt(0) & 255
    show()
  })
  setInterval(() => { state.count++; show() }, 50)
  field.focus()
  show()
</script>`

/** Serves the board, and sees to it that the browser shows it, also one that was started again. */
const JOB = `
  const page = ${JSON.stringify(PAGE)}.replace('MARK', process.env.BOARD_MARK)
  const server = require('http').createServer((_, response) => response.setHeader('content-type', 'text/html').end(page))
  server.listen(0, '127.0.0.1', () => {
    const url = 'http://127.0.0.1:' + server.address().port + '/'
    const look = async () => {
      const tabs = await (await fetch(process.env.CERTYN_CDP_URL + '/json/list')).json()
      if (tabs.some(tab => tab.url === url)) return
      const tab = tabs.find(tab => tab.type === 'page')
      if (tab === undefined) return
      const devtools = new WebSocket(tab.webSocketDebuggerUrl)
      devtools.onopen = () => devtools.send(JSON.stringify({ id: 1, method: 'Page.navigate', params: { url } }))
      // Another one before the answer would begin all over again.
      await new Promise(done => { devtools.onmessage = devtools.onclose = done })
      devtools.close()
    }
    const keep = () => look().catch(() => undefined).then(() => setTimeout(keep, 250))
    keep()
    setInterval(() => require('fs').existsSync('/certyn/artifacts/go') && process.exit(0), 50)
  })`

/** A run of the board; it ends with 0 when it is told to by `letEnd`. */
export function boardRun(image: string, mark: number) {
  return { image, command: node(JOB), env: { BOARD_MARK: String(mark) }, stream: true }
}

/** As the board shows the last two characters of its text. */
export function textOf(two: string): Board['text'] {
  return (two.charCodeAt(0) << 8) | two.charCodeAt(1)
}
