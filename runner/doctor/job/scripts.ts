/**
 * What runs inside the container, for images with Node and for images with a shell. Both print facts as lines of
 * words, which `inside.ts` reads, and judge nothing. No attempt waits longer than some seconds.
 */

/** Addresses to reach as `host port`, joined by commas. */
export const TARGETS_VARIABLE = 'CERTYN_DOCTOR_TARGETS'
/** A name to resolve. */
export const NAME_VARIABLE = 'CERTYN_DOCTOR_NAME'
/** Written by the doctor into the session folder, read by the container, and the other way round. */
export const WORD_FILE = 'word'
export const ECHO_FILE = 'artifacts/echo'

export type Interpreter = 'node' | 'sh'

export interface Script {
  readonly entrypoint: Interpreter
  readonly command: readonly string[]
}

/** The container's limits, what it sees of its mounts, and what it reaches. */
export function lookAround(interpreter: Interpreter): Script {
  return scriptOf(interpreter, { node: NODE_LOOK, sh: SH_LOOK })
}

/** Whether a new user namespace can be made, as a browser's sandbox does. */
export function makeNamespace(interpreter: Interpreter): Script {
  return scriptOf(interpreter, { node: NODE_USERNS, sh: SH_USERNS })
}

function scriptOf(entrypoint: Interpreter, text: Readonly<Record<Interpreter, string>>): Script {
  return { entrypoint, command: [entrypoint === 'node' ? '-e' : '-c', text[entrypoint]] }
}

const CGROUP_FILES = [
  '/sys/fs/cgroup/memory.max',
  '/sys/fs/cgroup/memory/memory.limit_in_bytes',
  '/sys/fs/cgroup/pids.max',
  '/sys/fs/cgroup/pids/pids.max',
]
const SYSCTLS = [
  'kernel/unprivileged_userns_clone',
  'kernel/apparmor_restrict_unprivileged_userns',
  'user/max_user_namespaces',
]

/**
 * `nc` gives up connecting after 3 s by itself, so one that has to be stopped has connected. wget cannot be told apart
 * that way. A proxy meant for jobs is not asked: what counts is what the network lets through.
 */
const SH_LOOK = `
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
while read -r device point type options rest; do
  case $point in / | /dev/shm) echo "mount $point $options" ;; esac
done </proc/mounts
while read -r key value rest; do
  case $key in Uid: | CapEff: | NoNewPrivs: | Seccomp:) echo "status \${key%:} $value" ;; esac
done </proc/self/status
for file in ${CGROUP_FILES.join(' ')}; do
  [ -r $file ] && read -r value <$file && echo "limit $file $value"
done
read -r word </certyn/${WORD_FILE} && echo "word $word" && echo "$word" >/certyn/${ECHO_FILE}
within() {
  seconds=$1; shift
  "$@" </dev/null & pid=$!
  (sleep $seconds; kill $pid) >/dev/null 2>&1 & guard=$!
  wait $pid; code=$?
  kill $guard >/dev/null 2>&1
  return $code
}
reach() {
  if command -v nc >/dev/null; then
    said=$(within 5 nc -w 3 "$1" "$2" 2>&1 >/dev/null); code=$?
    [ $code -gt 128 ] && code=0
  elif command -v wget >/dev/null; then
    case $1 in *:*) url="http://[$1]:$2/" ;; *) url="http://$1:$2/" ;; esac
    said=$(within 4 wget -q -O /dev/null "$url" 2>&1); code=$?
  else
    said='no tool'; code=127
  fi
  echo "reach $1 $2 $code" $said
}
resolve() {
  if command -v getent >/dev/null; then said=$(within 10 getent hosts "$1" 2>&1); code=$?
  elif command -v nslookup >/dev/null; then said=$(within 10 nslookup "$1" 2>&1); code=$?
  else return
  fi
  case "$code $said" in "0 "* | *Name:*) echo 'resolved yes' ;; *) echo 'resolved no' ;; esac
}
[ -n "$${NAME_VARIABLE}" ] && resolve "$${NAME_VARIABLE}" &
IFS=,
for target in $${TARGETS_VARIABLE}; do
  (unset IFS; reach $target) &
done
wait
echo end
`

const SH_USERNS = `
for name in ${SYSCTLS.join(' ')}; do
  [ -r /proc/sys/$name ] && read -r value </proc/sys/$name && echo "sysctl $name $value"
done
if command -v unshare >/dev/null; then
  said=$(unshare -U sh -c : 2>&1); code=$?
else
  said=$(busybox unshare -U sh -c : 2>&1); code=$?
fi
echo "userns $code" $said
echo end
`

const NODE_LOOK = `
const fs = require('fs'), net = require('net'), dns = require('dns')
const read = file => { try { return fs.readFileSync(file, 'utf8') } catch { return '' } }
const say = (...words) => console.log(words.join(' ').replace(/\\s+/g, ' '))
for (const line of read('/proc/mounts').split('\\n')) {
  const [, point, , options] = line.split(' ')
  if (point === '/' || point === '/dev/shm') say('mount', point, options)
}
for (const line of read('/proc/self/status').split('\\n')) {
  const [key, value] = line.split(/:?\\s+/)
  if (['Uid', 'CapEff', 'NoNewPrivs', 'Seccomp'].includes(key)) say('status', key, value)
}
for (const file of ${JSON.stringify(CGROUP_FILES)}) {
  const value = read(file).trim()
  if (value !== '') say('limit', file, value)
}
const word = read('/certyn/${WORD_FILE}').trim()
if (word !== '') {
  say('word', word)
  try { fs.writeFileSync('/certyn/${ECHO_FILE}', word) } catch {}
}
const reach = target => new Promise(done => {
  const [host, port] = target.split(' ')
  const socket = net.connect({ host, port: Number(port), autoSelectFamily: false })
  const end = (code, said) => { socket.destroy(); say('reach', host, port, code, said); done() }
  socket.setTimeout(4000, () => end(1, 'timed out'))
  socket.on('connect', () => end(0, ''))
  socket.on('error', error => end(1, error.code))
})
const targets = (process.env.${TARGETS_VARIABLE} || '').split(',').filter(Boolean)
const resolve = name => new Promise(done => {
  const end = error => { say('resolved', error ? 'no' : 'yes'); done() }
  const late = setTimeout(end, 10000, true)
  dns.lookup(name, error => { clearTimeout(late); end(error) })
})
const name = process.env.${NAME_VARIABLE}
Promise.all([...targets.map(reach), name ? resolve(name) : null]).then(() => { say('end'); process.exit() })
`

const NODE_USERNS = `
const { spawnSync } = require('child_process'), fs = require('fs')
const say = (...words) => console.log(words.join(' ').replace(/\\s+/g, ' '))
for (const name of ${JSON.stringify(SYSCTLS)}) {
  try { say('sysctl', name, fs.readFileSync('/proc/sys/' + name, 'utf8')) } catch {}
}
const { status, error, stderr } = spawnSync('unshare', ['-U', process.execPath, '-e', ''])
say('userns', error ? 127 : status, error ? 'not found' : stderr)
say('end')
`
