import { readConfig } from '../config.ts'
import { checks } from '../doctor/checks.ts'
import { reasonOf } from '../log.ts'
import { readPolicy } from '../policy.ts'

/** `runner doctor`: every check is made, whatever the others find. @returns whether all passed */
export async function doctor(print: (line: string) => void): Promise<boolean> {
  const config = readConfig(process.env)
  readPolicy(config.RUNNER_POLICY_FILE)
  let sound = true
  for (const { name, remedy, look } of checks(config)) {
    try {
      print(`ok    ${name}: ${await look()}`)
    } catch (error) {
      sound = false
      print(`FAIL  ${name}: ${reasonOf(error)}`)
      print(`      ${remedy}`)
    }
  }
  print(sound ? 'all checks passed' : 'some checks failed')
  return sound
}
