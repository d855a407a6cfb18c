import { launch } from './launch/launch.mjs'

launch('scripts/build/main.ts', process.argv.slice(2))
