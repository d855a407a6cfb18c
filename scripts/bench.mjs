import { launch } from './launch/launch.mjs'

launch('bench/main.ts', process.argv.slice(2))
