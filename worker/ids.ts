import { fromString, toUUIDBytes, typeid } from 'typeid-js'
import { ID_PREFIXES, type IdKind } from '../protocol/ids.ts'

/** A fresh id; ids of one isolate sort in the order they were made. */
export function mintId(kind: IdKind): string {
  return typeid(ID_PREFIXES[kind]).toString()
}

/** @returns epoch milliseconds at which a well-formed id was made (the first 48 bits of its UUIDv7) */
export function mintedAt(id: string): number {
  return toUUIDBytes(fromString(id))
    .subarray(0, 6)
    .reduce((time, byte) => time * 256 + byte, 0)
}
