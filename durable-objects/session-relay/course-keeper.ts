import { type Course, isSameCourse } from './core/joint.ts'
import type { RelayStore } from './store.ts'

/** A job can have its picture come and go with every frame, and must not have a row written each time. */
const SAID_SAVE_MS = 1_000

/**
 * Keeps the course in storage. While what is said changes all the time it is kept as nothing said, so an object that
 * forgot says it anew, and never takes for said what was taken back since.
 */
export class CourseKeeper {
  readonly #store: Pick<RelayStore, 'save'>
  #kept: Course
  #saidAt = 0

  constructor(store: Pick<RelayStore, 'save'>, kept: Course) {
    this.#store = store
    this.#kept = kept
  }

  keep(course: Course, now: number): void {
    if (isSameCourse(this.#kept, course)) return
    const isOften = now < this.#saidAt + SAID_SAVE_MS
    const kept = isOften ? { ...course, said: '' } : course
    if (isSameCourse(this.#kept, kept)) return
    this.#kept = kept
    this.#store.save(kept)
    if (!isOften) this.#saidAt = now
  }
}
