import { fileURLToPath } from 'node:url'
import { ensureInstalled } from './launch/install.mjs'

ensureInstalled(fileURLToPath(new URL('..', import.meta.url)))
