const { appendFileSync } = require('node:fs')

/** Loaded into every Node process of a test: what any user of the machine could have read of it. */
appendFileSync(process.env.RECORDED_ARGUMENTS, `${JSON.stringify(process.argv)}\n`)
