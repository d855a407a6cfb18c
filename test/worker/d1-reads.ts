/** What a piece of work reads of D1: every SELECT it makes is made once more for its cost and its plan. */
export interface Reads {
  readonly rows: number
  /** Of SQLite, one line a step. */
  readonly plan: string[]
}

export async function readsOf(
  database: D1Database,
  work: (watched: D1Database) => Promise<unknown>,
): Promise<Reads> {
  const asked: { sql: string; values: unknown[] }[] = []
  const watched = new Proxy(database, {
    get(target, name) {
      if (name === 'prepare') {
        return (sql: string) => {
          const statement = target.prepare(sql)
          const bind = statement.bind.bind(statement)
          statement.bind = (...values) => {
            if (/^\s*select/i.test(sql)) asked.push({ sql, values })
            return bind(...values)
          }
          return statement
        }
      }
      const member = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
  await work(watched)
  let rows = 0
  const plan: string[] = []
  for (const { sql, values } of asked) {
    const { meta } = await database
      .prepare(sql)
      .bind(...values)
      .all()
    rows += meta.rows_read
    const steps = await database
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .bind(...values)
      .all<{ detail: string }>()
    plan.push(...steps.results.map(step => step.detail))
  }
  return { rows, plan }
}
