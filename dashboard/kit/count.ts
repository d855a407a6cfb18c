/** @param one the word for one of them, which takes an s for more */
export function count(number: number, one: string): string {
  return `${number} ${one}${number === 1 ? '' : 's'}`
}
