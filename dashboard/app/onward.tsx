import { useEffect } from 'react'
import { Loading } from '../kit/list.tsx'

/** Whoever came only to sign in goes back to where they were. */
export function Onward({ to }: { readonly to: string }) {
  useEffect(() => location.replace(to), [to])
  return <Loading />
}
