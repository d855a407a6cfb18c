import defaults from './seccomp-default.json' with { type: 'json' }

/**
 * Docker's default profile (Moby 20.10.24, profiles/seccomp/default.json, Apache-2.0, unchanged beside this file) and
 * three calls more, which a browser needs to put its own processes into a sandbox: a new user namespace by `clone` or
 * `unshare`, and `chroot`, which the default ties to a capability that jobs do not have and the browser has only
 * inside its own namespace. There it also gives each of its processes a process namespace by `clone`, which is no
 * more than `unshare` allows already; without that, Chromium 150 starts, listens, and never shows a page.
 */

const CLONE_NEWUSER = 0x10000000
const CLONE_NEWPID = 0x20000000

const USERNS_RULES = [
  cloneWith(CLONE_NEWUSER),
  cloneWith(CLONE_NEWPID),
  { names: ['unshare', 'chroot'], action: 'SCMP_ACT_ALLOW' },
]

function cloneWith(flag: number) {
  return {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value: flag, valueTwo: flag, op: 'SCMP_CMP_MASKED_EQ' }],
  }
}

/** An image says with this label that it makes such a sandbox; the policy file says whether it may. */
export const SECCOMP_LABEL = 'certyn.seccomp'
export const SECCOMP_USERNS = 'userns'

/** As the Engine takes it in `SecurityOpt`. */
export const USERNS_PROFILE = JSON.stringify({
  ...defaults,
  syscalls: [...defaults.syscalls, ...USERNS_RULES],
})
