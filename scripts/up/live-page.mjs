/**
 * The sample that can be watched: serves one page, drives it in the browser beside it the way a test would, and leaves
 * a screenshot. Runs in the session, so it knows nothing but its environment.
 */
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const { CERTYN_CDP_URL, CERTYN_ARTIFACTS_DIR } = process.env
const PAGE = `<!doctype html><meta charset="utf-8"><title>Certyn sample</title>
<style>
  body { margin: 0; min-height: 100vh; display: grid; place-content: center; gap: 28px; justify-items: center;
         font: 24px 'Liberation Sans', system-ui, sans-serif; color: #eef1f6; background: linear-gradient(135deg, #14213d, #1d4e6b) }
  h1 { margin: 0; font-size: 44px } output { font: 700 132px/1 ui-monospace, monospace; color: #ffd166 }
  p { margin: 0; color: #b9c8d8 } form { display: flex; gap: 12px }
  input, button { font: inherit; padding: 10px 18px; border: 0; border-radius: 8px }
  button { color: #14213d; background: #ffd166; cursor: pointer }
</style>
<h1>A page in a private network</h1><output>0</output>
<form onsubmit="return false"><input placeholder="Type here"><button>Count</button></form>
<p>Clicked once a second by the run itself. <time></time></p>
<script>
  const output = document.querySelector('output'), time = document.querySelector('time')
  document.querySelector('button').onclick = () => output.value = Number(output.value) + 1
  setInterval(() => { time.textContent = new Date().toLocaleTimeString() }, 200)
</script>`

const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end(PAGE))
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}/`

const tabs = await (await fetch(`${CERTYN_CDP_URL}/json/list`)).json()
const devtools = new WebSocket(tabs.find(tab => tab.type === 'page').webSocketDebuggerUrl)
await new Promise((resolve, reject) => {
  devtools.onopen = resolve
  devtools.onerror = () => reject(new Error('the browser does not take the connection'))
})
devtools.onclose = () => {
  console.error('the browser has ended')
  process.exit(1)
}
let last = 0
function call(method, params = {}) {
  const id = ++last
  devtools.send(JSON.stringify({ id, method, params }))
  return new Promise(resolve => {
    devtools.addEventListener('message', function answered({ data }) {
      const message = JSON.parse(data)
      if (message.id !== id) return
      devtools.removeEventListener('message', answered)
      resolve(message.result)
    })
  })
}
const evaluate = async expression => (await call('Runtime.evaluate', { expression })).result.value

await call('Page.navigate', { url })
while ((await evaluate(`document.querySelector('time')?.textContent ?? ''`)) === '') await sleep(100)
// Given as text on node's command line, so what follows it is the first argument.
const seconds = Number(process.argv[1])
for (let second = 0; second < seconds; second++) {
  await evaluate(`document.querySelector('button').click()`)
  await sleep(1000)
}
const counted = Number(await evaluate(`document.querySelector('output').value`))
const { data } = await call('Page.captureScreenshot', { format: 'png' })
writeFileSync(`${CERTYN_ARTIFACTS_DIR}/page.png`, Buffer.from(data, 'base64'))
console.log(`The page counted to ${counted}; its screenshot is page.png.`)
process.exit(counted >= seconds ? 0 : 1)
