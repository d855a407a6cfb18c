import { SECCOMP_LABEL, SECCOMP_USERNS } from '../../executors/docker/seccomp.ts'
import { type Check, ok, skipped, warn } from '../examination.ts'
import { runInContainer } from './container.ts'
import { type Inside, readInside } from './inside.ts'
import type { JobContainer } from './job-container.ts'
import { makeNamespace } from './scripts.ts'

const NO_TOOL = 127
const UNTIL_THEN = '; until then browsers in jobs run without their own sandbox'

/** Chromium's sandbox needs user namespaces. Tried under the profile that images with the label get, with or without it. */
export const browserSandbox: Check<{ container: JobContainer }, null> = {
  name: 'browser sandbox',
  async look({ container: { bench, interpreter } }, signal) {
    const { image, settings } = bench
    const isLabelled = image.labels[SECCOMP_LABEL] === SECCOMP_USERNS
    const isAllowed = settings.policy.allow_userns_seccomp
    const labelled = {
      ...bench,
      image: { ...image, labels: { ...image.labels, [SECCOMP_LABEL]: SECCOMP_USERNS } },
      settings: { ...settings, policy: { ...settings.policy, allow_userns_seccomp: true } },
    }
    const ran = await runInContainer(labelled, makeNamespace(interpreter), {}, signal)
    if (ran.type === 'refused') {
      return warn(
        `no container starts under its profile: ${ran.message}`,
        `use an Engine and a kernel with seccomp${UNTIL_THEN}`,
      )
    }
    const inside = readInside(ran.output)
    if (inside.userns === null) return skipped('an image whose script comes to its end')
    if (inside.userns.code === 0) {
      const image = isLabelled
        ? 'this image has the label'
        : `this image has no label ${SECCOMP_LABEL}=${SECCOMP_USERNS}`
      const policy = isAllowed
        ? 'the policy file allows it'
        : 'the policy file does not set allow_userns_seccomp'
      return ok(`this host allows user namespaces in a job; ${image}, ${policy}`)
    }
    const forbidding = forbiddenBy(inside)
    if (inside.userns.code === NO_TOOL && forbidding === null) return skipped('an image with unshare')
    const remedy = forbidding ?? 'AppArmor, SELinux or the kernel refuses: dmesg on the host says which'
    return warn(
      `this host allows no user namespace in a job (${inside.userns.said})`,
      `${remedy}${UNTIL_THEN}`,
    )
  },
}

/** @returns what to change on the host, null when none of its settings forbids it. Exported for its tests. */
export function forbiddenBy({ sysctls }: Pick<Inside, 'sysctls'>): string | null {
  if (sysctls.get('kernel/unprivileged_userns_clone') === '0')
    return 'sysctl -w kernel.unprivileged_userns_clone=1'
  if (sysctls.get('user/max_user_namespaces') === '0') return 'sysctl -w user.max_user_namespaces=15000'
  if (sysctls.get('kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or load an AppArmor profile with `userns,`'
  }
  return null
}
