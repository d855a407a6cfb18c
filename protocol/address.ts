const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]'])

const GOOD_ADDRESS = 'an address such as https://certyn.example.com, with the path where a proxy adds one'

/**
 * Why a text cannot be the control plane's address; null when it can. A credential travels with every call, so plain
 * HTTP is taken to this machine only.
 *
 * @param allowHttp the setting that allows it elsewhere, as the caller's documents write it, and whether it does
 */
export function addressProblem(text: string, allowHttp: { name: string; isSet: boolean }): string | null {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) return `expected ${GOOD_ADDRESS}`
  if (url.username !== '' || url.password !== '') {
    return `must not hold a user name or password; expected ${GOOD_ADDRESS}`
  }
  if (/[?#]/.test(text)) return `must not hold a query or a fragment; expected ${GOOD_ADDRESS}`
  if (url.protocol === 'https:' || LOOPBACK.has(url.hostname) || allowHttp.isSet) return null
  return `expected https://; plain http:// is taken for this machine only, or with ${allowHttp.name}=1`
}

/** Every way to write one address is the same address. @param text that `addressProblem` finds none in */
export function baseAddress(text: string): URL {
  const url = new URL(text)
  url.pathname = url.pathname.replace(/\/+$/, '')
  return url
}
