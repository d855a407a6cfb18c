/**
 * What a shell loads once. From then on it asks the program itself, word by word as they were typed: nothing typed is
 * ever evaluated. An answer is a line a candidate, `word<tab>description`, or the one line `:files`.
 */
export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type ShellName = (typeof SHELLS)[number]

const BASH = `_certyn() {
  local answer
  answer=$(certyn complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
  COMPREPLY=()
  if [ "$answer" = ":files" ]; then
    compopt -o default
    return
  fi
  local line
  while IFS= read -r line; do
    [ -n "$line" ] && COMPREPLY+=("\${line%%$'\\t'*}")
  done <<<"$answer"
}
complete -F _certyn certyn
`

const ZSH = `#compdef certyn
_certyn() {
  local answer line
  local -a found
  answer=$(certyn complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null) || return
  if [[ $answer == ":files" ]]; then
    _files
    return
  fi
  for line in "\${(@f)answer}"; do
    [[ -n $line ]] && found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe certyn found
}
if [[ \${funcstack[1]} == _certyn ]]; then
  _certyn "$@"
else
  compdef _certyn certyn
fi
`

const FISH = `function __certyn
  set -l words (commandline -opc) (commandline -ct)
  set -l answer (certyn complete -- $words[2..] 2>/dev/null)
  if test "$answer" = ":files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $answer
  end
end
complete -c certyn -f -a '(__certyn)'
`

export const SCRIPTS: Readonly<Record<ShellName, string>> = { bash: BASH, zsh: ZSH, fish: FISH }
