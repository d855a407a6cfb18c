import { useEffect, useRef, useState } from 'react'
import uPlot from 'uplot'
import type { PoolSample } from '../../../protocol/overview.ts'

const HEIGHT = 220

/** Queue depth and busy slots over time. */
export default function HistoryChart({ samples }: { readonly samples: readonly PoolSample[] }) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  // A canvas and the legend keep the colours they were made with.
  const [colours, setColours] = useState(0)
  useEffect(() => whenThemeChanges(() => setColours(made => made + 1)), [])
  // biome-ignore lint/correctness/useExhaustiveDependencies: made anew in other colours
  useEffect(() => {
    const element = place.current
    if (element === null) return
    const made = new uPlot(optionsFor(element), [[], [], [], []], element)
    plot.current = made
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }))
    resized.observe(element)
    return () => {
      resized.disconnect()
      made.destroy()
    }
  }, [colours])
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => {
    plot.current?.setData([
      samples.map(({ at }) => Date.parse(at) / 1000),
      samples.map(({ queued }) => queued),
      samples.map(({ slots_busy }) => slots_busy),
      samples.map(({ slots_total }) => slots_total),
    ])
  }, [samples, colours])
  const last = samples.at(-1)
  return (
    <div className="chart">
      <div ref={place} aria-hidden="true" />
      <p className="visually-hidden">
        {last !== undefined &&
          `Last: ${last.queued} queued, ${last.slots_busy} of ${last.slots_total} slots busy.`}
      </p>
    </div>
  )
}

function whenThemeChanges(change: () => void): () => void {
  const system = matchMedia('(prefers-color-scheme: dark)')
  const chosen = new MutationObserver(change)
  system.addEventListener('change', change)
  chosen.observe(document.documentElement, { attributeFilter: ['data-theme'] })
  return () => {
    system.removeEventListener('change', change)
    chosen.disconnect()
  }
}

/** Without a pointer over it, what was last. */
function showLast(plot: uPlot): void {
  const last = plot.data[0].length - 1
  if (last >= 0 && (plot.cursor.idx ?? null) === null) plot.setLegend({ idx: last }, false)
}

function optionsFor(element: HTMLElement): uPlot.Options {
  const stepped = uPlot.paths.stepped?.({ align: 1 })
  const colour = (name: string) => getComputedStyle(element).getPropertyValue(name)
  const line = (label: string, stroke: string): uPlot.Series => ({
    label,
    stroke: colour(stroke),
    width: 2,
    ...(stepped !== undefined && { paths: stepped }),
    points: { show: false },
  })
  const axis: uPlot.Axis = {
    stroke: colour('--chart-text'),
    grid: { stroke: colour('--chart-line'), width: 1 },
    ticks: { stroke: colour('--chart-line') },
  }
  return {
    width: element.clientWidth,
    height: HEIGHT,
    series: [
      {},
      line('queued', '--chart-queued'),
      line('slots busy', '--chart-busy'),
      line('slots in all', '--chart-text'),
    ],
    axes: [axis, { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10_000] }],
    // The highest line is not the frame.
    scales: { y: { range: (_, __, max) => [0, Math.max(4, max * 1.1)] } },
    hooks: { setData: [showLast], setCursor: [showLast] },
  }
}
