/** How many of the slots are busy. */
export function SlotBar({ busy, max }: { readonly busy: number; readonly max: number }) {
  const words = `${busy} of ${max} slots busy`
  return (
    <span className="slot-bar">
      <meter min={0} max={Math.max(1, max)} value={busy} aria-label={words}>
        {words}
      </meter>
      <span aria-hidden="true">
        {busy} / {max}
      </span>
    </span>
  )
}
