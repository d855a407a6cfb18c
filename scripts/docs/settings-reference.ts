import { z } from 'zod'
import { EnvironmentSchema as Agent } from '../../agent/settings.ts'
import { SettingsSchema as ControlPlane } from '../../durable-objects/settings.ts'
import { EnvironmentSchema as Runner } from '../../runner/config.ts'
import { Policy } from '../../runner/policy.ts'
import { TargetSchema as Deployment } from '../deploy/options.ts'
import { table } from './table.ts'

/** What every setting's schema says of it, as Markdown: nothing here repeats what the code that reads it holds. */

interface Part {
  readonly heading: string
  readonly intro: string
  readonly settings: Readonly<Record<string, z.ZodType>>
}

export const PARTS: readonly Part[] = [
  {
    heading: 'Control plane',
    intro:
      'In `deploy.env` or the environment of `npm run deploy`, or in the environment of `npm run control-plane`.\n' +
      '`SelfHosted:MaxViewers` means the same as `SelfHosted__MaxViewers`. A secret is given in the environment only.',
    settings: ControlPlane.shape,
  },
  {
    heading: 'Runner',
    intro:
      'In the environment of the container or the process. A secret is better given as a file, because\n' +
      '`docker inspect` shows the environment.',
    settings: Runner.shape,
  },
  {
    heading: 'Policy file',
    intro:
      'The fields of the JSON file that `RUNNER_POLICY_FILE` names. It is read when the runner starts, and a wrong\n' +
      'field stops it. [security-model.md](security-model.md#narrowing-it) says what to set.',
    settings: Policy.shape,
  },
  {
    heading: 'Deployment',
    intro:
      'Beside those of the control plane, in `deploy.env` or the environment of `npm run deploy`:\n' +
      '[deploy.md](deploy.md) says when each is of use.',
    settings: Deployment.shape,
  },
  {
    heading: 'Agent image',
    intro: 'In the `env` of a run, or of an image made from it: [agent-images.md](agent-images.md).',
    settings: Agent.shape,
  },
]

const HEAD = ['setting', 'default', 'values', 'what it does'] as const

export function settingsReference(): string {
  return PARTS.map(
    ({ heading, intro, settings }) =>
      `## ${heading}\n\n${intro}\n\n${table(
        HEAD,
        Object.entries(settings).map(([name, schema]) => rowOf(name, schema)),
      )}`,
  ).join('\n\n')
}

/** Those of a first hour. The whole list is docs/settings.md. */
const MOST_USED = [
  'Features__SelfHostedRunnersEnabled',
  'Features__SelfHostedRelayEnabled',
  'Docker__DefaultImage',
  'OPERATOR_KEY',
  'CONTROL_PLANE_URL',
  'RUNNER_POOL_ID',
  'REGISTRATION_TOKEN',
  'RUNNER_NAME',
  'MAX_CONCURRENCY',
  'RUNNER_LABELS',
  'RUNNER_POLICY_FILE',
]

export function mostUsedSettings(): string {
  const all: Readonly<Record<string, z.ZodType>> = { ...ControlPlane.shape, ...Runner.shape }
  return table(
    HEAD,
    MOST_USED.map(name => {
      const schema = all[name]
      if (schema === undefined) throw new Error(`${name} is no setting`)
      return rowOf(name, schema)
    }),
  )
}

/** What a schema may say of itself in its metadata; the rest follows from what it takes. */
const Note = z.object({
  description: z.string({ error: 'says nothing of itself: add .describe()' }),
  values: z.string().optional(),
  initial: z.string().optional(),
  secret: z.boolean().default(false),
})

function rowOf(name: string, schema: z.ZodType): string[] {
  const layers = layersOf(schema)
  const note = Note.safeParse(Object.assign({}, ...layers.toReversed().map(layer => layer.meta() ?? {})))
  if (!note.success) throw new Error(`${name}: ${note.error.issues[0]?.message}`)
  const { description, values, initial, secret } = note.data
  return [
    `\`${name}\`${secret ? ' (secret)' : ''}`,
    initial ?? initialOf(schema),
    values ?? choicesOf(layers),
    description,
  ]
}

/** A schema and all it is made of, the outermost first. */
function layersOf(schema: z.ZodType): z.ZodType[] {
  const inner =
    schema instanceof z.ZodOptional || schema instanceof z.ZodNullable || schema instanceof z.ZodDefault
      ? schema.def.innerType
      : schema instanceof z.ZodPipe
        ? schema.def.in
        : null
  return inner instanceof z.ZodType ? [schema, ...layersOf(inner)] : [schema]
}

/** What the setting is when nobody sets it. */
function initialOf(schema: z.ZodType): string {
  const parsed = schema.safeParse(undefined)
  if (!parsed.success) return 'required'
  const value: unknown = parsed.data
  const isNone = value === undefined || value === null || Object.values(Object(value)).length === 0
  if (typeof value === 'number' || typeof value === 'boolean') return `\`${value}\``
  return isNone ? 'none' : `\`${String(value)}\``
}

function choicesOf(layers: readonly z.ZodType[]): string {
  for (const layer of layers) {
    if (layer instanceof z.ZodEnum) return layer.options.map(option => `\`${option}\``).join(', ')
    if (layer instanceof z.ZodBoolean) return '`true`, `false`'
  }
  throw new Error('a setting that is no choice has to say what it takes: add .meta({ values })')
}
