import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Certificate {
  readonly key: Buffer
  readonly cert: Buffer
  /** Of the certificate, which is its own CA. */
  readonly file: string
}

/** One that nobody vouches for but itself. @param name as openssl writes it: `DNS:host` or `IP:address` */
export function selfSigned(directory: string, name: string): Certificate {
  const [key, file] = [join(directory, 'key.pem'), join(directory, 'ca.pem')]
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1']
      .concat(['-subj', '/CN=certyn-test', '-addext', `subjectAltName=${name}`])
      .concat(['-keyout', key, '-out', file]),
    { stdio: 'ignore' },
  )
  return { key: readFileSync(key), cert: readFileSync(file), file }
}
