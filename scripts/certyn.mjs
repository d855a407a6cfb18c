import { launch } from './launch/launch.mjs'

launch('cli/main.ts', process.argv.slice(2))
