import * as z from 'zod'
import { EnvironmentId } from '../../protocol/ids.ts'
import { shortId } from '../kit/ids.ts'

const Known = z.object({ environment_id: EnvironmentId })
const Named = z.object({ name: z.string() })

/** Says which run it is. Whoever is signed in is told more, and led to its page; a link is good for nothing but watching. */
export async function nameRun(place: HTMLElement, runId: string): Promise<void> {
  place.textContent = `Run ${shortId(runId)}`
  place.title = runId
  const run = await read(`/api/v1/runs/${runId}`, Known)
  if (run === null) return
  const link = document.createElement('a')
  link.href = `/runs/${runId}`
  link.textContent = place.textContent
  place.replaceChildren(link)
  const environment = await read(`/api/v1/environments/${run.environment_id}`, Named)
  if (environment !== null) place.append(` in ${environment.name}`)
}

async function read<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T> | null> {
  try {
    const response = await fetch(path)
    return response.ok ? schema.parse(await response.json()) : null
  } catch {
    return null
  }
}
