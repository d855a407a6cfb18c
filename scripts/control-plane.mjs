import { launch } from './launch/launch.mjs'

launch('scripts/control-plane/main.ts', process.argv.slice(2))
