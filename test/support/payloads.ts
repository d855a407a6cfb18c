import { NAME_LIMIT_CHARS } from '../../protocol/limits.ts'

/** What people and programs may put into a name, a label, a note or a log, and a page must show as it is. */
export const PAYLOADS: readonly string[] = [
  '<script>globalThis.ran = 1</script>',
  '"><img src=x onerror="globalThis.ran = 2">',
  "'-alert(3)-'</title></textarea><svg onload=alert(4)>",
  'javascript:globalThis.ran=5//{{7*7}}#{7*7}<%= 7*7 %>',
  '</style><style>body{display:none}</style>&lt;b&gt;&amp;',
  'admin\u202egnp.exe\u202c \u2066isolated\u2069 \u200bzero\u200dwidth\ufeff',
  'שלום עולם مرحبا بالعالم',
  'Z\u0351\u036b\u0343\u036a\u0302a\u0321\u034e\u0324l\u0353\u0356g\u0349\u032fo\u0334\u0321 👩‍👩‍👧‍👦 🏳️‍🌈 ﷽',
  'W'.repeat(NAME_LIMIT_CHARS),
  '漢字'.repeat(NAME_LIMIT_CHARS / 4),
]

/** As a label, which is shorter and can hold neither `=` nor `,`. */
export function asLabel(text: string): string {
  return [...text.replaceAll(/[=,]/g, '')].slice(0, 30).join('').trim()
}
