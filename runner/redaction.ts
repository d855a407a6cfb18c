import { SECRET, USER_INFO } from './log.ts'

/** What is shorter is no secret, and would be taken out of ordinary words. */
const SECRET_MIN_CHARS = 8

/**
 * For what is pasted into tickets or passed on, as the doctor's findings and the Engine's words. @param given what was set as a secret, whatever its shape
 * @returns a function that takes out those, everything of a secret's shape, and names and passwords in addresses
 */
export function redactor(given: readonly (string | undefined)[]): (text: string) => string {
  const literals = given.map(text => text?.trim() ?? '').filter(text => text.length >= SECRET_MIN_CHARS)
  return text => {
    const shaped = text.replace(SECRET, '[redacted]').replace(USER_INFO, '//[redacted]@')
    return literals.reduce((rest, secret) => rest.replaceAll(secret, '[redacted]'), shaped)
  }
}
