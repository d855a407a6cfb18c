/** A flag that one loop waits for and others raise. Raised while nobody waits, it is remembered. */
export class Latch {
  #raised = false
  #wakeUp: (() => void) | null = null

  raise(): void {
    this.#raised = true
    this.#wakeUp?.()
  }

  /** Resolves when raised, after `ms`, or on abort. @returns whether it was raised; lowers it */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    if (!this.#raised && !signal.aborted) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(done, Math.min(ms, 2 ** 31 - 1))
        function done() {
          clearTimeout(timer)
          signal.removeEventListener('abort', done)
          resolve()
        }
        signal.addEventListener('abort', done)
        this.#wakeUp = done
      })
      this.#wakeUp = null
    }
    const raised = this.#raised
    this.#raised = false
    return raised
  }
}
