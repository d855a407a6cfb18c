import defaults from './seccomp-default.json' with { type: 'json' }

/**
 * Docker's default profile (Moby 20.10.24, profiles/seccomp/default.json, Apache-2.0, unchanged beside this file) and
 * three calls more, which a browser needs to put its own processes into a sandbox: a new user namespace by `clone` or
 * `unshare`, and `chroot`, which the default ties to a capability that jobs do not have and the browser has only
 * inside its own namespace.
 */

const CLONE_NEWUSER = 0x10000000

const USERNS_RULES = [
  {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value: CLONE_NEWUSER, valueTwo: CLONE_NEWUSER, op: 'SCMP_CMP_MASKED_EQ' }],
  },
  { names: ['unshare', 'chroot'], action: 'SCMP_ACT_ALLOW' },
]

/** An image says with this label that it makes such a sandbox; the policy file says whether it may. */
export const SECCOMP_LABEL = 'certyn.seccomp'
export const SECCOMP_USERNS = 'userns'

/** As the Engine takes it in `SecurityOpt`. */
export const USERNS_PROFILE = JSON.stringify({
  ...defaults,
  syscalls: [...defaults.syscalls, ...USERNS_RULES],
})
