import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { exitCodeOf } from '../exit-code.ts'

/** Chromium on Linux trusts, beside its own list, the authorities in this store of its user's home. */
const STORE = join('.pki', 'nssdb')
/** For servers only: not for mail, not for code. */
const TRUST = 'C,,'

/**
 * Lets the browser trust the authorities of a file, as Node does for `NODE_EXTRA_CA_CERTS`: those of the private
 * network that a runner's operator handed to its jobs.
 *
 * @param home the home folder that Chromium is going to be started with
 * @param file certificates in PEM form, any number of them
 * @throws naming what is missing: a readable file with a certificate in it, or `certutil`
 */
export async function trustCertificates(home: string, file: string): Promise<void> {
  const certificates = pemCertificates(await readFile(file, 'utf8'))
  if (certificates.length === 0) throw new Error(`${file} holds no certificate in PEM form`)
  const store = join(home, STORE)
  await mkdir(store, { recursive: true })
  await certutil('-N', '-d', `sql:${store}`, '--empty-password')
  const folder = await mkdtemp(join(home, 'certificates-'))
  try {
    const lines = certificates.map(async (certificate, index) => {
      const path = join(folder, `${index}.pem`)
      await writeFile(path, certificate)
      return `-A -d sql:${store} -n certyn-${index} -t ${TRUST} -i ${path}\n`
    })
    const batch = join(folder, 'batch')
    await writeFile(batch, (await Promise.all(lines)).join(''))
    await certutil('-B', '-d', `sql:${store}`, '-i', batch)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** @returns each certificate's own text; keys and remarks between them are left out */
export function pemCertificates(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----\n?/g) ?? []
}

async function certutil(...args: readonly string[]): Promise<void> {
  const child = spawn('certutil', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(exitCodeOf(code, signal)))
  })
  if (code !== 0) throw new Error(`certutil ${args[0]} failed: ${said.trim()}`)
}
