import { launch } from './launch/launch.mjs'

launch('scripts/screenshots/main.ts', process.argv.slice(2))
