import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificate {
  /** Of the certificate, which is its own CA. */
  readonly file: string
  readonly key: Buffer
  readonly cert: Buffer
}

/** A certificate that vouches for itself. @param name such as `DNS:host` @param days negative: it has expired */
export function makeCertificate(directory: string, name: string, days = 1): Certificate {
  const label = `${name}-${days}`.replaceAll(/[^\w-]/g, '_')
  const [key, request, file] = ['key', 'csr', 'pem'].map(end => join(directory, `${label}.${end}`)) as [
    string,
    string,
    string,
  ]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const subject = ['-subj', '/CN=certyn-test', '-addext', `subjectAltName=${name}`]
  openssl('req', '-new', ...curve, ...subject, '-keyout', key, '-out', request)
  const validity = ['-days', String(days), '-copy_extensions', 'copyall']
  openssl('x509', '-req', '-in', request, '-signkey', key, ...validity, '-out', file)
  return { file, key: readFileSync(key), cert: readFileSync(file) }
}

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: 'ignore' })
}
