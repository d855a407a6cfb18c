import { errorCode } from './files.ts'

const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'free space on its disk',
  EDQUOT: 'raise the quota of this user there, or free space',
  EROFS: 'its disk is mounted read-only: mount it writable',
  EACCES: 'let this user own and write it (chown, chmod 700)',
  EPERM: 'let this user own and write it (chown, chmod 700)',
  // What making a folder on a read-only disk comes to.
  ENOENT: 'no folder can be made there: mount a writable one (the disk may be mounted read-only)',
  EEXIST: 'a file is where a directory belongs: name a directory, or remove the file',
  ENOTDIR: 'a file is where a directory belongs: name a directory, or remove the file',
}

/** What to do when the state directory cannot be read or written. */
export function storageRemedy(error: unknown): string {
  return REMEDIES[errorCode(error)] ?? 'mount a directory there that this user may write'
}
