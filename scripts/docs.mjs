import { launch } from './launch/launch.mjs'

launch('scripts/docs/main.ts', process.argv.slice(2))
