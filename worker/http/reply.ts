/** What a handler answers when it does not refuse. Only `respond.ts` makes a response of it. */
export type Reply<Body> =
  | { readonly status: 200 | 201; readonly body: Body; readonly headers?: Readonly<Record<string, string>> }
  | { readonly status: 204; readonly body?: undefined; readonly headers?: Readonly<Record<string, string>> }
  /** An answer that is not JSON: a page, or a websocket upgrade. */
  | { readonly status: 'raw'; readonly response: Response }

export function done<Body>(body: Body): Reply<Body> {
  return { status: 200, body }
}

export function created<Body>(body: Body): Reply<Body> {
  return { status: 201, body }
}

export const NO_CONTENT = { status: 204 } as const
