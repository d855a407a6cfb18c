import { launch } from './launch/launch.mjs'

launch('scripts/deploy/main.ts', process.argv.slice(2))
