/** Why a deployment stopped, for the person who started it, and what to do about it. */
export class DeployFailure extends Error {
  readonly remedy: string

  constructor(message: string, remedy: string) {
    super(message)
    this.remedy = remedy
  }
}
