import { isWellFormedSecret, SECRET_PREFIXES, secretHint } from '../../../protocol/secrets.ts'
import { readRegistrationToken } from '../../config.ts'
import { SettingsError } from '../../settings-error.ts'
import { type Check, type Finding, fail, ok, warn } from '../examination.ts'
import type { Settings } from '../host/settings.ts'
import type { Credential } from './credential.ts'

const REMEDY =
  'create a registration token in the pool and set REGISTRATION_TOKEN, or the file of REGISTRATION_TOKEN_FILE, to it'

/** Only its form: a token is looked up by registering with it, which would count a use. */
export const registrationToken: Check<{ settings: Settings; credential: Credential }, null> = {
  name: 'registration token',
  look({ settings: { config }, credential: { isUsed } }) {
    const trouble = (seen: string): Finding<null> =>
      isUsed ? warn(`${seen}; one is needed only to register anew`, REMEDY) : fail(seen, REMEDY)
    let token: string | null
    try {
      token = readRegistrationToken(config)
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      return trouble(error.message)
    }
    if (token === null) {
      if (isUsed) return ok('none is set; one is needed only to register anew')
      return fail('none is set, and the runner has to register', REMEDY)
    }
    const wrong = wrongWith(token)
    if (wrong !== null) return trouble(`not usable: ${wrong}`)
    const hint = secretHint('registrationToken', token)
    return ok(
      `${hint} has the right form; whether it is expired, revoked or used up is seen only by registering`,
    )
  },
}

/** @returns what is wrong with the form, without a character of it; null when it is right */
function wrongWith(token: string): string | null {
  if (isWellFormedSecret('registrationToken', token)) return null
  if (token === '') return 'it is empty'
  if (/^["'`]|["'`]$/.test(token)) return 'it has quotation marks around it, which belong to the shell'
  if (/\s/.test(token)) return 'it has spaces or line breaks in it'
  const prefix = `${SECRET_PREFIXES.registrationToken}_`
  if (token.startsWith(prefix))
    return 'its checksum is wrong: characters of it were lost or changed on the way'
  const other = Object.values(SECRET_PREFIXES).find(one => token.startsWith(`${one}_`))
  return other === undefined ? `it does not begin with ${prefix}` : `it is another kind of secret (${other}_)`
}
