import type { Failure } from '../../../protocol/run.ts'

/** Whose fault it is, and so who should look at it. */
const DOMAINS: Readonly<Record<Failure['domain'], string>> = {
  test: 'The test itself: the runner and the control plane did their part.',
  agent_image: 'The image: it could not be had as it was asked for.',
  network: 'The network between the runner’s host and what it needs.',
  runner: 'The runner or its host.',
  control_plane: 'The control plane.',
}

const MEANINGS: Readonly<Record<Failure['code'], string>> = {
  non_zero_exit: 'The command ended with an exit code that means failure.',
  command_not_found: 'The image does not hold the command.',
  oom: 'It needed more memory than it was given.',
  timeout: 'It ran longer than its timeout.',
  image_not_found: 'There is no such image.',
  image_auth: 'The registry wants a login that the runner does not have.',
  pull_failed: 'The image could not be pulled.',
  network_unreachable: 'The registry could not be reached from the runner.',
  engine_error: 'The Docker Engine could not do its part.',
  disk_full: 'The disk of the runner’s host is full.',
  runner_lost_session: 'The runner no longer has the session.',
  lease_expired: 'The runner was not heard for too long.',
  runner_removed: 'The runner was removed from the pool.',
  policy_denied: 'The policy file of the runner’s host forbids the run.',
  queue_timeout: 'No runner took it in time.',
  internal: 'Something went wrong inside.',
}

export function FailureNote({ failure: { domain, code, message } }: { readonly failure: Failure }) {
  return (
    <section className="card failure" aria-labelledby="failure">
      <h2 id="failure">Why it failed</h2>
      <p>{MEANINGS[code]}</p>
      <p className="soft">{DOMAINS[domain]}</p>
      <pre>
        {code}: {message}
      </pre>
    </section>
  )
}
