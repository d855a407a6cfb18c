import { TestPool } from './world.ts'

/** What one call cost in what Cloudflare bills: rows by the cursors, and alarms set (a row written each). */
export interface Cost {
  readonly read: number
  readonly written: number
  readonly alarms: number
}

/**
 * Meters the real object: every cursor that SQLite hands out while `work` runs, whoever asks for it.
 * Cursors count as they are consumed, so they are added up when `work` is done. The classes are reached through
 * an object of no use, so that the one under test may be asleep.
 */
export async function metered<T>(work: () => Promise<T>): Promise<[T, Cost]> {
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = []
  let alarms = 0
  const restore = await new TestPool().inside(({ storage }) => {
    const sqlPrototype = Object.getPrototypeOf(storage.sql)
    const storagePrototype = Object.getPrototypeOf(storage)
    const { exec } = sqlPrototype
    const { setAlarm } = storagePrototype
    sqlPrototype.exec = function (this: SqlStorage, ...query: Parameters<SqlStorage['exec']>) {
      const cursor = exec.apply(this, query)
      cursors.push(cursor)
      return cursor
    }
    storagePrototype.setAlarm = function (this: DurableObjectStorage, at: number) {
      alarms += 1
      return setAlarm.call(this, at)
    }
    return () => {
      sqlPrototype.exec = exec
      storagePrototype.setAlarm = setAlarm
    }
  })
  try {
    const result = await work()
    return [
      result,
      {
        read: cursors.reduce((sum, cursor) => sum + cursor.rowsRead, 0),
        written: cursors.reduce((sum, cursor) => sum + cursor.rowsWritten, 0),
        alarms,
      },
    ]
  } finally {
    restore()
  }
}
