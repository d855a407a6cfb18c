import { describe, expect, test } from 'vitest'
import { simulate } from './world.ts'

/** `SIMULATION_SEED=541 npx vitest run test/simulation` replays one world; `SIMULATION_SEEDS` sets how many. */
const SEEDS = Number(process.env.SIMULATION_SEEDS ?? 1_000)
const ONLY = process.env.SIMULATION_SEED
const BATCH = 100

describe('the lease core and the runner’s ledger keep every invariant while everything goes wrong', () => {
  if (ONLY !== undefined) {
    test(`seed ${ONLY}`, () => {
      simulate(Number(ONLY))
    })
    return
  }
  for (let first = 1; first <= SEEDS; first += BATCH) {
    const last = Math.min(first + BATCH - 1, SEEDS)
    test(`seeds ${first} to ${last}`, () => {
      let attempts = 0
      for (let seed = first; seed <= last; seed++) attempts += simulate(seed).retries
      expect(attempts, 'worlds in which nothing is ever tried again prove nothing').toBeGreaterThan(0)
    })
  }
})

test('the same seed is the same world', () => {
  expect(simulate(7)).toEqual(simulate(7))
})
