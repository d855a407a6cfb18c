import { describe, expect, test } from 'vitest'
import { MUTANTS } from './mutants.ts'
import { withMutant } from './mutate.ts'

/** Every mutant is noticed within far fewer; more seeds only cost time when one is not. */
const MUTANT_SEEDS = 300

describe('the simulation notices when a rule is taken out', () => {
  test.each(MUTANTS)('$rule', async mutant => {
    const noticed = await withMutant(mutant, mutated => {
      for (let seed = 1; seed <= MUTANT_SEEDS; seed++) {
        try {
          mutated(seed)
        } catch (error) {
          return String(error)
        }
      }
      return null
    })
    expect(noticed, `${MUTANT_SEEDS} seeds did not notice`).toMatch(/I\d+: /)
  })
})
