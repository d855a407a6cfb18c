import type Docker from 'dockerode'

/**
 * Compares what the Engine made with what was asked, before anything of the job runs: an Engine default, a plugin or
 * an older Engine that drops an option must not weaken the template unseen.
 */

/** Set by the Engine itself where it was left out, or by the Engine's version; none of them widens anything. */
type Asked = Docker.HostConfig
type Made = Docker.ContainerInspectInfo

/** @returns what differs, one line each; empty when the container is as asked */
export function deviations(asked: Docker.ContainerCreateOptions, made: Made): string[] {
  const found: string[] = []
  const compare = (name: string, want: unknown, got: unknown) => {
    const [a, b] = [canonical(want), canonical(got)]
    if (a !== b) found.push(`${name}: asked for ${a}, the Engine made ${b}`)
  }
  compare('User', asked.User, made.Config.User)
  compare('Tty', asked.Tty, made.Config.Tty)
  for (const [label, value] of Object.entries(asked.Labels ?? {})) {
    compare(`Labels.${label}`, value, made.Config.Labels[label])
  }
  const want: Asked = asked.HostConfig ?? {}
  const got: Partial<Record<string, unknown>> = { ...made.HostConfig }
  for (const [key, value] of Object.entries(want)) compare(`HostConfig.${key}`, value, got[key])
  const mounts = made.Mounts.map(mount => `${mount.Type} ${mount.Destination}`).sort()
  compare('Mounts', want.Mounts?.map(mount => `${mount.Type} ${mount.Target}`).sort(), mounts)
  return found
}

/** The Engine answers null, zero, an empty list and an empty object for the same nothing. */
function canonical(value: unknown): string {
  if (value === undefined || value === null || value === '' || value === 0 || value === false)
    return 'nothing'
  if (typeof value !== 'object') return JSON.stringify(value)
  const entries = Array.isArray(value)
    ? value.map(canonical)
    : Object.entries(value)
        .filter(([, one]) => canonical(one) !== 'nothing')
        .map(([key, one]) => `${key}=${canonical(one)}`)
        .sort()
  return entries.length === 0 ? 'nothing' : `[${entries.join(' ')}]`
}
