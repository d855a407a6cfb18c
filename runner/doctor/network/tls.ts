import { type Check, type Finding, fail, ok, warn } from '../examination.ts'
import type { Broken, Way } from './way.ts'

const UNKNOWN_ISSUER: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])
/** What servers that speak plain HTTP look like to TLS. */
const NOT_TLS: ReadonlySet<string> = new Set([
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
])

export const tls: Check<{ way: Way }, Way> = {
  name: 'TLS',
  look({ way }) {
    const { config, certificate, end } = way
    const { protocol, hostname } = config.CONTROL_PLANE_URL
    if (protocol === 'http:') {
      if (config.RUNNER_ALLOW_HTTP === '0') return ok('not used, on this machine itself', way)
      const remedy = 'use https://, and unset RUNNER_ALLOW_HTTP'
      return warn('not used: whoever is in between can read the credential', remedy, way)
    }
    if ('at' in end && end.at === 'TLS') return explain(end, hostname, config.NODE_EXTRA_CA_CERTS)
    const { issuer, validTo } = certificate ?? { issuer: 'a trusted CA', validTo: 'unknown' }
    return ok(`certificate issued by ${issuer}, valid until ${validTo}`, way)
  },
}

function explain({ code, why }: Broken, hostname: string, extra: string | null): Finding<never> {
  if (UNKNOWN_ISSUER.has(code)) {
    const isSelf = code.includes('SELF_SIGNED')
    const seen = isSelf ? 'the certificate, or its CA, is self-signed' : 'its issuer is not known here'
    const held = extra === null ? '' : ` (${extra} does not hold it)`
    const remedy = `set NODE_EXTRA_CA_CERTS to the PEM file of the CA that issued it${held}; a firewall that looks into TLS has a CA of its own`
    return fail(`not trusted: ${seen} (${code})`, remedy)
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const what = code === 'CERT_HAS_EXPIRED' ? 'has expired' : 'is not valid yet'
    const now = new Date().toISOString()
    const remedy = `renew it where the control plane is served; or this host's clock is wrong: it says ${now}`
    return fail(`the certificate ${what}`, remedy)
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const remedy = `use in CONTROL_PLANE_URL a name that the certificate has, or have it issued for ${hostname}`
    return fail(`the certificate is for another host: ${why}`, remedy)
  }
  if (NOT_TLS.has(code)) {
    const remedy = 'check scheme and port of CONTROL_PLANE_URL; http:// also needs RUNNER_ALLOW_HTTP=1'
    return fail('plain HTTP is spoken where https:// was asked for', remedy)
  }
  const remedy =
    'a firewall may cut TLS to this host: have it allowed, or set HTTPS_PROXY to the proxy to use'
  return fail(`no TLS comes about: ${why}`, remedy)
}
