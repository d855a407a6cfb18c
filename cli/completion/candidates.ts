import type { Command, Option } from 'commander'

export interface Candidate {
  readonly word: string
  readonly description: string
}

/** What may stand where the cursor is; `files` leaves it to the shell. */
export type Candidates = readonly Candidate[] | 'files'

/** Names of values that are paths of this machine. */
const PATHS = /<(?:path|folder)>/

/**
 * @param words of the command line without the program's name, up to the cursor; the last is being typed, and may be
 *   empty
 */
export function candidates(program: Command, words: readonly string[]): Candidates {
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const { command, operands, waiting } = walk(program, before)
  const found =
    waiting !== null
      ? valuesOf(waiting)
      : before.includes('--')
        ? 'files'
        : typed.startsWith('-')
          ? optionsOf(command, before)
          : wordsOf(command, operands)
  return found === 'files' ? found : found.filter(({ word }) => word.startsWith(typed))
}

interface Place {
  readonly command: Command
  readonly operands: number
  /** The option whose value comes next. */
  readonly waiting: Option | null
}

function walk(program: Command, words: readonly string[]): Place {
  let place: Place = { command: program, operands: 0, waiting: null }
  for (const word of words) {
    if (place.waiting !== null) place = { ...place, waiting: null }
    else if (word === '--') return place
    else if (word.startsWith('-')) place = { ...place, waiting: waitingFor(place.command, word) }
    else {
      const next = place.command.commands.find(one => one.name() === word)
      place = next === undefined ? { ...place, operands: place.operands + 1 } : { ...place, command: next }
    }
  }
  return place
}

function waitingFor(command: Command, word: string): Option | null {
  if (word.includes('=')) return null
  const option = optionsFor(command).find(({ long, short }) => word === long || word === short)
  return option?.required ? option : null
}

/** Its own and those of all commands. */
function optionsFor(command: Command): Option[] {
  return [...command.options, ...(command.parent === null ? [] : optionsFor(command.parent))]
}

function valuesOf(option: Option): Candidates {
  if (PATHS.test(option.flags)) return 'files'
  return (option.argChoices ?? []).map(word => ({ word, description: '' }))
}

function optionsOf(command: Command, before: readonly string[]): Candidate[] {
  return optionsFor(command)
    .filter(({ long }) => long !== '--version')
    .filter(({ long, short, description }) => {
      const isGiven = before.some(word => word === long || word === short)
      return !isGiven || description.startsWith('repeatable')
    })
    .map(({ long, description }) => ({ word: long ?? '', description }))
    .concat({ word: '--help', description: 'what the command does and takes' })
}

function wordsOf(command: Command, operands: number): Candidate[] {
  if (command.commands.length > 0) {
    return command
      .createHelp()
      .visibleCommands(command)
      .map(one => ({ word: one.name(), description: one.description() }))
  }
  const choices = command.registeredArguments[operands]?.argChoices ?? []
  return choices.map(word => ({ word, description: '' }))
}
