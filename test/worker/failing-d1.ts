/** D1 as it is on a bad day: of every five writes one fails, half of those only after it was stored. */

const WRITE = /^\s*(insert|update|delete)/i

/** A seeded generator (mulberry32), so that a failure can be seen again. */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function failingD1(database: D1Database, random: () => number, share = 0.2): D1Database {
  const originals = new WeakMap<D1PreparedStatement, { statement: D1PreparedStatement; writes: boolean }>()

  async function unreliable<T>(writes: boolean, work: () => Promise<T>): Promise<T> {
    const fails = writes && random() < share
    if (fails && random() < 0.5) throw new Error('D1_ERROR: the database is overloaded')
    const result = await work()
    if (fails) throw new Error('D1_ERROR: the reply was lost')
    return result
  }

  function wrap(statement: D1PreparedStatement, writes: boolean): D1PreparedStatement {
    const wrapped = new Proxy(statement, {
      get(target, name) {
        const member = Reflect.get(target, name)
        if (typeof member !== 'function') return member
        if (name === 'bind') return (...values: unknown[]) => wrap(target.bind(...values), writes)
        return (...args: unknown[]) =>
          unreliable(writes, async () => await Reflect.apply(member, target, args))
      },
    })
    originals.set(wrapped, { statement, writes })
    return wrapped
  }

  return new Proxy(database, {
    get(target, name) {
      if (name === 'prepare') return (sql: string) => wrap(target.prepare(sql), WRITE.test(sql))
      if (name === 'batch') {
        return (statements: D1PreparedStatement[]) => {
          const inner = statements.map(
            wrapped => originals.get(wrapped) ?? { statement: wrapped, writes: true },
          )
          const writes = inner.some(one => one.writes)
          return unreliable(writes, () => target.batch(inner.map(one => one.statement)))
        }
      }
      const member = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

/** D1 whose first batch that names the table fails, before or after it was stored. */
export function failingOnce(database: D1Database, table: string, stores: boolean): D1Database {
  const naming = new WeakSet<D1PreparedStatement>()
  let failed = false
  function mark(statement: D1PreparedStatement): D1PreparedStatement {
    naming.add(statement)
    const bind = statement.bind.bind(statement)
    statement.bind = (...values) => mark(bind(...values))
    return statement
  }
  return new Proxy(database, {
    get(target, name) {
      if (name === 'prepare') {
        return (sql: string) => (sql.includes(table) ? mark(target.prepare(sql)) : target.prepare(sql))
      }
      if (name === 'batch') {
        return async (statements: D1PreparedStatement[]) => {
          const fails = !failed && statements.some(statement => naming.has(statement))
          if (!fails) return await target.batch(statements)
          failed = true
          if (stores) await target.batch(statements)
          throw new Error('D1_ERROR: the reply was lost')
        }
      }
      const member = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

/** D1 whose batches wait. */
export function slowBatches(database: D1Database, awake: Promise<void>): D1Database {
  return new Proxy(database, {
    get(target, name) {
      if (name === 'batch') {
        return async (statements: D1PreparedStatement[]) => {
          await awake
          return await target.batch(statements)
        }
      }
      const member = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}
