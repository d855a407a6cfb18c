import { launch } from './launch/launch.mjs'

launch('runner/main.ts', process.argv.slice(2))
