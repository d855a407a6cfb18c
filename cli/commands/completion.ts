import { Argument, type CommandUnknownOpts } from '@commander-js/extra-typings'
import type { Command } from 'commander'
import { candidates } from '../completion/candidates.ts'
import { SCRIPTS, SHELLS } from '../completion/scripts.ts'
import { examples } from './list.ts'

/** @param print to the standard output, as it is */
export function addCompletion(program: CommandUnknownOpts, print: (text: string) => void): void {
  program
    .command('completion')
    .description('print what a shell loads to complete commands and options')
    .addArgument(new Argument('<shell>', 'which one').choices(SHELLS))
    .addHelpText(
      'after',
      examples(
        'certyn completion bash > ~/.local/share/bash-completion/completions/certyn',
        'certyn completion zsh > ~/.zfunc/_certyn',
        'certyn completion fish > ~/.config/fish/completions/certyn.fish',
      ),
    )
    .action(shell => print(SCRIPTS[shell]))
  program
    .command('complete', { hidden: true })
    .description('what the scripts of `completion` ask')
    .argument('[words...]')
    .action(words => {
      const found = candidates(program as unknown as Command, words)
      print(found === 'files' ? ':files\n' : found.map(one => `${one.word}\t${one.description}\n`).join(''))
    })
}
