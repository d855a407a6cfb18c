/** The operator's mistake, or something only the operator can mend. The process says this and stops. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
}
