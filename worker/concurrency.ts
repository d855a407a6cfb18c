/**
 * `Promise.all` over a list, with no more than `width` calls under way at once.
 * @returns the answers in the list's order; the first failure fails the whole
 */
export async function mapBounded<Item, Answer>(
  items: readonly Item[],
  width: number,
  ask: (item: Item) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = []
  const queue = items.entries()
  async function work(): Promise<void> {
    for (const [index, item] of queue) answers[index] = await ask(item)
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, work))
  return answers
}
