import {
  type Attributes,
  type Counter,
  type Histogram,
  type Meter,
  type ObservableGauge,
  ValueType,
} from '@opentelemetry/api'
import { type Instrument, RUNNER_INSTRUMENTS, type RunnerMetrics } from './instruments.ts'

/** A sync takes milliseconds; one that waits for its timeout takes ten seconds. */
const SYNC_BUCKETS_MS = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]

/** @param common attributes of every point */
export function instrumentsOf(meter: Meter, common: Attributes): Omit<RunnerMetrics, 'sessionEnded'> {
  const of = RUNNER_INSTRUMENTS
  const registrationFailures = counter(meter, of.registrationFailures)
  const syncFailures = counter(meter, of.syncFailures)
  const relayFailures = counter(meter, of.relayFailures)
  const orphansRemoved = counter(meter, of.orphansRemoved)
  const duration = histogram(meter, of.syncDuration)
  // A rate needs a value from before: a count that first shows up as 1 is no increase to anybody.
  for (const one of [registrationFailures, syncFailures, relayFailures, orphansRemoved]) one.add(0, common)
  return {
    registrationFailed: errorType => registrationFailures.add(1, { ...common, 'error.type': errorType }),
    syncEnded: (durationMs, errorType) => {
      const about = errorType === null ? common : { ...common, 'error.type': errorType }
      duration.record(durationMs, about)
      if (errorType !== null) syncFailures.add(1, about)
    },
    relayFailed: () => relayFailures.add(1, common),
    orphanRemoved: () => orphansRemoved.add(1, common),
    observeSlots: look => {
      gauge(meter, of.slotsTotal).addCallback(seen => seen.observe(look().total, common))
      gauge(meter, of.slotsBusy).addCallback(seen => seen.observe(look().busy, common))
    },
  }
}

function counter(meter: Meter, { name, unit, description }: Instrument): Counter {
  return meter.createCounter(name, { unit, description, valueType: ValueType.INT })
}

function gauge(meter: Meter, { name, unit, description }: Instrument): ObservableGauge {
  return meter.createObservableGauge(name, { unit, description, valueType: ValueType.INT })
}

function histogram(meter: Meter, { name, unit, description }: Instrument): Histogram {
  const advice = { explicitBucketBoundaries: SYNC_BUCKETS_MS }
  return meter.createHistogram(name, { unit, description, advice })
}
