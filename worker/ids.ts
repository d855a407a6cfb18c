import { fromUUIDBytes, typeid } from 'typeid-js'
import { ID_PREFIXES, type IdKind } from '../protocol/ids.ts'

/** A fresh id; ids of one isolate sort in the order they were made. */
export function mintId(kind: IdKind): string {
  return typeid(ID_PREFIXES[kind]).toString()
}

/** The least id that could be made at this time: ids below it are older. @param ms epoch milliseconds */
export function firstIdAt(kind: IdKind, ms: number): string {
  const bytes = new Uint8Array(16)
  for (let i = 0, rest = ms; i < 6; i++, rest = Math.floor(rest / 256)) bytes[5 - i] = rest % 256
  return fromUUIDBytes(ID_PREFIXES[kind], bytes).toString()
}
