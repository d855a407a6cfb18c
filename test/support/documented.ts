import { globSync, readFileSync } from 'node:fs'

/** The commands that documents tell their readers to type. */

const ROOT = new URL('../../', import.meta.url).pathname
const DOCUMENTS = ['README.md', 'CONTRIBUTING.md', 'docs/*.md', 'deploy/**/*.md']

export interface DocumentedCommand {
  readonly file: string
  /** On one line, without comments. */
  readonly command: string
}

export function documentedCommands(): DocumentedCommand[] {
  return globSync(DOCUMENTS, { cwd: ROOT })
    .sort()
    .flatMap(file =>
      [...readFileSync(`${ROOT}${file}`, 'utf8').matchAll(/^ *```sh\n([\s\S]*?)^ *```$/gm)].flatMap(
        ([, block = '']) => commandsOf(block).map(command => ({ file, command })),
      ),
    )
}

function commandsOf(block: string): string[] {
  return block
    .replaceAll(/\s*\\\n\s*/g, ' ')
    .split('\n')
    .map(line => line.replace(/(?:^|\s+)#\s.*$/, '').trim())
    .filter(line => line !== '')
}
