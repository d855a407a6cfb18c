import * as limits from '../../protocol/limits.ts'
import { table } from './table.ts'

/** Sizes that are refused above, as Markdown. */
export function limitsReference(): string {
  return table(
    ['what', 'at most'],
    [
      ['body of a call', size(limits.BODY_LIMIT_BYTES)],
      ['depth of its JSON', `${limits.JSON_DEPTH_LIMIT}`],
      ['`env` of a run', size(limits.ENV_LIMIT_BYTES)],
      ['`command` of a run', `${limits.COMMAND_LIMIT_ITEMS} items`],
      [
        'labels of a run or a runner',
        `${limits.LABEL_LIMIT_ITEMS}, names and values of ${limits.LABEL_LIMIT_CHARS} characters`,
      ],
      ['names', `${limits.NAME_LIMIT_CHARS} characters`],
      ['notes', `${limits.NOTE_LIMIT_CHARS} characters`],
      ['slots of a runner', `${limits.SLOT_LIMIT}`],
      [
        'artifacts of a session',
        `${limits.ARTIFACT_COUNT_LIMIT} files of ${size(limits.ARTIFACT_LIMIT_BYTES)}, ${size(limits.ARTIFACTS_TOTAL_LIMIT_BYTES)} together`,
      ],
      ["an artifact's name", `${limits.ARTIFACT_NAME_LIMIT_BYTES} bytes`],
      ['a frame of the live view', size(limits.FRAME_LIMIT_BYTES)],
    ],
  )
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB']

function size(bytes: number): string {
  const power = Math.floor(Math.log2(bytes) / 10)
  return `${bytes / 1024 ** power} ${UNITS[power]}`
}
