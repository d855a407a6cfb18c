import * as z from 'zod'

/** Where telemetry goes and what it is known by, as OpenTelemetry writes it. */

/**
 * Address of an OTLP/HTTP receiver, without the signal's path: `https://collector.example:4318`.
 * What is secret about it goes into the headers, so that the address can be shown.
 */
export const OtlpEndpoint = z.string().transform((text, context) => {
  const url = URL.parse(text.trim())
  const isBare = url?.username === '' && url.password === '' && !/[?#]/.test(text)
  if (url !== null && isBare && /^https?:$/.test(url.protocol)) return url.href.replace(/\/+$/, '')
  context.addIssue(
    'expected an address such as https://collector.example.com:4318, without user name or query',
  )
  return z.NEVER
})

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** `name=value,other=value`, values percent-encoded (OpenTelemetry's own form). Never echoed: they hold credentials. */
export const OtlpHeaders = z.string().transform((text, context) => {
  const headers: Record<string, string> = {}
  for (const part of text.split(',').map(one => one.trim())) {
    if (part === '') continue
    const at = part.indexOf('=')
    const name = part.slice(0, Math.max(0, at)).trim()
    const value = decoded(part.slice(at + 1).trim())
    if (!HEADER_NAME.test(name) || value === null) {
      context.addIssue('expected name=value pairs with commas between them, values percent-encoded')
      return z.NEVER
    }
    headers[name.toLowerCase()] = value
  }
  return headers
})

/** @returns null for what no header can hold */
function decoded(text: string): string | null {
  try {
    const value = decodeURIComponent(text)
    return /^[\t\x20-\x7e\x80-\xff]*$/.test(value) ? value : null
  } catch {
    return null
  }
}
