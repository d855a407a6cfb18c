import { describe, expect, test } from 'vitest'
import { CommandFailure } from '../../cli/failure.ts'
import { Interrupts } from '../../cli/interrupts.ts'
import { endText, statusText, waitText } from '../../cli/runs/status-text.ts'
import { lookAgainMs, PATIENCE_MS, type WaitParts, waitForRun } from '../../cli/runs/wait.ts'
import type { Run, RunStatus } from '../../protocol/run.ts'
import { refused, runThat, TestClock, unreachable } from './support.ts'

/** Waits for a run whose states come one a look; an error in their place is thrown. */
function waiting(states: readonly (RunStatus | Error)[], given: Partial<WaitParts> = {}) {
  const clock = new TestClock()
  const interrupts = new Interrupts()
  const calls: string[] = []
  let at = 0
  const next = async (call: string): Promise<Run> => {
    calls.push(call)
    const state = states[Math.min(at++, states.length - 1)]
    if (state instanceof Error) throw state
    return runThat({ status: state ?? 'running' })
  }
  const end = waitForRun({
    look: () => next('look'),
    cancel: () => next('cancel'),
    interrupts,
    cancelOnInterrupt: false,
    limitMs: null,
    onLook: async () => undefined,
    onAway: () => void calls.push('away'),
    onCancelled: () => void calls.push('cancelled'),
    clock,
    ...given,
  })
  return { end, calls, clock, interrupts }
}

describe('waiting for a run', () => {
  test('ends with it', async () => {
    const { end, calls } = waiting(['queued', 'offered', 'running', 'stopping', 'lost'])
    expect(await end).toMatchObject({ how: 'ended', run: { status: 'lost' } })
    expect(calls).toEqual(['look', 'look', 'look', 'look', 'look'])
  })

  test('asks often while something happens, and seldom when nothing does', () => {
    const seldom = [0, 29_999, 30_000, 599_999, 600_000].map(ageMs => lookAgainMs(ageMs, () => 0.5))
    expect(seldom).toEqual([1000, 1000, 2000, 2000, 5000])
    expect([lookAgainMs(0, () => 0), lookAgainMs(0, () => 1)]).toEqual([800, 1200])
  })

  test('gives up when it was told to, and not a moment later', async () => {
    const { end, clock } = waiting(['running'], { limitMs: 2_500 })
    expect(await end).toEqual({ how: 'gave_up' })
    expect(clock.slept).toEqual([1000, 1000, 500])
  })

  test('outlives a control plane that is away for a while', async () => {
    const { end, calls } = waiting(['running', unreachable(), unreachable(), 'succeeded'])
    expect(await end).toMatchObject({ how: 'ended', run: { status: 'succeeded' } })
    expect(calls).toEqual(['look', 'look', 'away', 'look', 'away', 'look'])
  })

  test('says so when it stays away', async () => {
    const { end, clock } = waiting(['running', unreachable()])
    await expect(end).rejects.toThrow('ECONNREFUSED')
    const waitedMs = clock.slept.reduce((sum, ms) => sum + ms, 0)
    expect(waitedMs).toBeGreaterThan(PATIENCE_MS)
    expect(waitedMs).toBeLessThan(PATIENCE_MS * 1.1)
  })

  test('does not wait out a refusal', async () => {
    const { end, calls } = waiting(['running', new CommandFailure(refused('unauthenticated'))])
    await expect(end).rejects.toThrow('no')
    expect(calls).toEqual(['look', 'look'])
  })
})

describe('a signal while waiting', () => {
  /** Arrives when the run was looked at so often. */
  function interrupted(states: readonly RunStatus[], at: Readonly<Record<number, number>>, cancels: boolean) {
    let looks = 0
    const seen = waiting(states, {
      cancelOnInterrupt: cancels,
      onLook: async () => {
        const now = at[++looks]
        if (now !== undefined) seen.interrupts.arrived('SIGINT', now)
      },
    })
    return seen
  }

  test('leaves, and does not touch the run', async () => {
    const { end, calls } = interrupted(['running'], { 2: 0 }, false)
    expect(await end).toEqual({ how: 'left', isCancelling: false })
    expect(calls).toEqual(['look', 'look'])
  })

  test('cancels where that was asked for, and waits for the end', async () => {
    const { end, calls, clock } = interrupted(
      ['running', 'running', 'stopping', 'stopping', 'cancelled'],
      { 2: 0 },
      true,
    )
    expect(await end).toMatchObject({ how: 'ended', run: { status: 'cancelled' } })
    expect(calls).toEqual(['look', 'look', 'cancel', 'cancelled', 'look', 'look'])
    // The signal ends the pause it came in, and no other.
    expect(clock.slept).toEqual([1000, 0, 1000, 1000])
  })

  test('leaves all the same the second time, which an echo of the first is not', async () => {
    const { end, calls } = interrupted(['running'], { 1: 5_000, 3: 5_999, 5: 6_000 }, true)
    expect(await end).toEqual({ how: 'left', isCancelling: true })
    expect(calls).toEqual(['look', 'cancel', 'cancelled', 'look', 'look', 'look'])
  })

  test('leaves although no answer comes', async () => {
    const look = (signal: AbortSignal) =>
      new Promise<Run>((_, reject) => signal.addEventListener('abort', () => reject(unreachable())))
    const { end, interrupts } = waiting([], { look })
    interrupts.arrived('SIGINT', 0)
    expect(await end).toEqual({ how: 'left', isCancelling: false })
  })

  test('that came before the first look cancels, too', async () => {
    const interrupts = new Interrupts()
    interrupts.arrived('SIGTERM', 0)
    const { end, calls } = waiting(['stopping', 'cancelled'], { interrupts, cancelOnInterrupt: true })
    expect(await end).toMatchObject({ how: 'ended' })
    expect(calls).toEqual(['cancel', 'cancelled', 'look'])
    expect(interrupts.exitCode).toBe(143)
  })
})

describe('what is said meanwhile', () => {
  const now = Date.parse('2026-01-01T00:01:10.000Z')

  test('names the state, the place and the time', () => {
    expect(statusText(runThat({ attempt: 2 }), null, now)).toBe(
      'running on rnr_01kb4yq3v8e9c9v3m2d0f4k6ha, attempt 2 for 1m',
    )
    const queued = runThat({ status: 'queued', runner_id: null, started_at: null })
    const placement = { waiting_for: 'runner', candidates: [] } as const
    expect(statusText(queued, { ...placement, candidates: [] }, now)).toBe(
      'queued for 1m 10s, waits for a runner: the pool has none',
    )
  })

  test('names the first runners and why each cannot', () => {
    const candidates = ['a', 'b\n', 'c', 'd', 'e'].map(name => ({
      runner_id: 'rnr_01kb4yq3v8e9c9v3m2d0f4k6ha',
      name,
      eligible: false,
      reasons: ['offline' as const, 'label:gpu' as const],
    }))
    expect(waitText({ waiting_for: 'label', candidates })).toBe(
      'waits for a label (a: offline, label:gpu; b·: offline, label:gpu; c: offline, label:gpu and 2 more)',
    )
  })

  test('ends with the reason', () => {
    const failure = { domain: 'test', code: 'non_zero_exit', message: 'it\x1b[2J ended' } as const
    const finished_at = '2026-01-01T00:00:15.000Z'
    expect(endText(runThat({ status: 'failed', exit_code: 7, failure, finished_at }))).toBe(
      'run_01kb4yq3v8e9c9v3m2d0f4k6ha failed after 5s, exit code 7, non_zero_exit: it·[2J ended',
    )
  })
})
