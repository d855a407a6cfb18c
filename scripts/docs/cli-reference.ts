import type { Command } from 'commander'
import { createProgram } from '../../cli/program.ts'

const WIDTH = 100

/** Every command of `certyn` with its help, as Markdown. */
export function cliReference(): string {
  let written = ''
  const program = createProgram({
    connect: () => {
      throw new Error('a document asks nobody')
    },
    print: text => {
      written += text
    },
  })
  const sections = leavesOf(program).map(command => {
    command.configureHelp({ showGlobalOptions: false }).configureOutput({ getOutHelpWidth: () => WIDTH })
    written = ''
    command.outputHelp()
    return `### ${nameOf(command)}\n\n\`\`\`text\n${written.trim()}\n\`\`\``
  })
  return sections.join('\n\n')
}

/** Those that do something, in the order of the program's help. */
export function leavesOf(command: Command): Command[] {
  const visible = command.createHelp().visibleCommands(command)
  const own = command.commands.filter(one => visible.includes(one))
  return own.flatMap(one => (one.commands.length === 0 ? [one] : leavesOf(one)))
}

export function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`
}
