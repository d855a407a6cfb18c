import { z } from 'zod'

const Seen = z.object({
  requests: z.number(),
  repeated: z.number(),
  wrong: z.array(z.string()),
  points: z.array(
    z.object({
      name: z.string(),
      value: z.number(),
      attributes: z.record(z.string(), z.unknown()),
      instance: z.string(),
    }),
  ),
})

/** A metrics back end of the tests, known by its host name. */
export class BackEnd {
  readonly endpoint: string
  readonly #control: string

  constructor(name: string) {
    this.endpoint = `http://${name}`
    this.#control = `http://control/${name}`
  }

  async is(mood: 'well' | 'failing' | 'forgetful' | 'hanging'): Promise<void> {
    await fetch(this.#control, { method: 'PUT', body: mood })
  }

  async seen(): Promise<z.infer<typeof Seen>> {
    return Seen.parse(await (await fetch(this.#control)).json())
  }

  async valuesOf(poolId: string, { name }: { readonly name: string }): Promise<number[]> {
    const { points } = await this.seen()
    return points
      .filter(point => point.name === name && point.attributes.pool === poolId)
      .map(point => point.value)
  }

  async total(poolId: string, instrument: { readonly name: string }): Promise<number> {
    return (await this.valuesOf(poolId, instrument)).reduce((a, b) => a + b, 0)
  }
}
