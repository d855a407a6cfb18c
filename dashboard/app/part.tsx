import { type ComponentType, lazy, type ReactNode, useState } from 'react'

export interface Part<Props> {
  (props: Props): ReactNode
  /** Loads it before it is shown. */
  load(): Promise<unknown>
}

/**
 * A component in a file of its own that is loaded when it is first shown, or before. What is there already is shown at
 * once: React's `lazy` alone shows its fallback first, and keeps that for 300 ms.
 */
export function part<Props extends object>(
  from: () => Promise<{ readonly default: ComponentType<Props> }>,
): Part<Props> {
  let loaded: ComponentType<Props> | null = null
  const load = async () => {
    const module = await from()
    loaded = module.default
    return module
  }
  const Awaited = lazy(load)
  // biome-ignore lint/correctness/noComponentHookFactories: called once for each part, as `lazy` is
  function Shown(props: Props) {
    // Not another one while it is on screen, or it would lose its state.
    const [Component] = useState<ComponentType<Props>>(() => loaded ?? Awaited)
    return <Component {...props} />
  }
  return Object.assign(Shown, { load })
}
