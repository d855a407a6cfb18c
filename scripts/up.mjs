import { launch } from './launch/launch.mjs'

launch('scripts/up/main.ts', process.argv.slice(2))
