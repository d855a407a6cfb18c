/**
 * The one alarm of an object serves many due times. It is moved only to an earlier time: a due time that
 * moves later (a renewal) costs nothing, the handler just finds nothing to do and arms for what is next.
 */
export class AlarmClock {
  readonly #storage: Pick<DurableObjectStorage, 'getAlarm' | 'setAlarm'>
  readonly #options: DurableObjectSetAlarmOptions
  #armedAt: number | null = null

  /** @param options `allowUnconfirmed` for an object whose answers need not wait until the alarm is on disk */
  constructor(
    storage: Pick<DurableObjectStorage, 'getAlarm' | 'setAlarm'>,
    options: DurableObjectSetAlarmOptions = {},
  ) {
    this.#storage = storage
    this.#options = options
  }

  async load(): Promise<number | null> {
    this.#armedAt = await this.#storage.getAlarm()
    return this.#armedAt
  }

  /** @param at epoch milliseconds, or null for "nothing is due" */
  wakeBy(at: number | null): void {
    if (at === null || (this.#armedAt !== null && this.#armedAt <= at)) return
    this.#armedAt = at
    void this.#storage.setAlarm(at, this.#options)
  }

  /** The handler runs, or the alarm was deleted: whatever was armed is spent. */
  disarmed(): void {
    this.#armedAt = null
  }
}
