// Calls to Strongroom: problems as typed errors, lists as async iterators, and requests that are
// sent again without a second effect. openapi-typescript makes api.d.ts from openapi.json.
import { setTimeout as delay } from "node:timers/promises"
import createClient, { type Client } from "openapi-fetch"
import type { components, paths } from "./api.js"

export type Schemas = components["schemas"]
/** A problem document of any code. `problem.code` tells them apart. */
export type Problem = Schemas["Problem"]
export type Strongroom = Client<paths>
type Send = (request: Request) => Promise<Response>

export interface Options {
  url: string
  token: string
  /** How often a request is sent at most, by default 6 times. */
  attempts?: number
  /** What sends a request, by default `fetch`. */
  send?: Send
}

/** A typed client, whose requests are repeated where that can't do anything twice. */
export function connect({ url, token, attempts = 6, send = fetch }: Options): Strongroom {
  return createClient<paths>({
    baseUrl: url,
    headers: { Authorization: `Bearer ${token}` },
    fetch: repeating(send, attempts),
  })
}

/** What `take` throws for an answer that is a problem. */
export class ProblemError extends Error {
  override readonly name = "ProblemError"

  constructor(readonly problem: Problem) {
    super(`${problem.code}: ${problem.detail}`)
  }
}

type Answer<D> =
  | { data: D; error?: never; response: Response }
  | { data?: never; error: Problem; response: Response }

/** The content of an answer. Throws a `ProblemError` for a problem. */
export async function take<D>(call: Promise<Answer<D>>): Promise<D> {
  const { data, error, response } = await call
  if (response.ok) return data as D
  // A proxy may answer with something else.
  if (isProblem(error)) throw new ProblemError(error)
  throw new Error(`${response.url} answered ${response.status}`)
}

function isProblem(error: unknown): error is Problem {
  return typeof error === "object" && error !== null && "code" in error && "detail" in error
}

/** The items of a list, page by page: each page is read when its first item is asked for. */
export async function* items<P extends { next_cursor: string | null }, I>(
  read: (cursor: string | null) => Promise<P>,
  of: (page: P) => readonly I[],
): AsyncGenerator<I, void, undefined> {
  let cursor: string | null = null
  do {
    const page: P = await read(cursor)
    yield* of(page)
    cursor = page.next_cursor
  } while (cursor !== null)
}

/** The entity tag of an answer, for `If-Match`. */
export function tagOf(response: Response): string {
  const tag = response.headers.get("ETag")
  if (tag === null) throw new Error(`${response.url} has no ETag`)
  return tag
}

const MOST_SECONDS = 30

/**
 * Sends a request again after 429, 503 and a 409 with `Retry-After`, which had no effect, and after
 * a broken connection if a second effect is impossible: for a GET, and for a POST, which gets an
 * `Idempotency-Key`. After a broken PUT, PATCH or DELETE, read the resource and decide again.
 */
function repeating(send: Send, attempts: number): Send {
  return async (request) => {
    const { method } = request
    if (method === "POST" && !request.headers.has("Idempotency-Key")) {
      request.headers.set("Idempotency-Key", crypto.randomUUID())
    }
    const hasOneEffect = method === "GET" || method === "HEAD" || method === "POST"
    for (let attempt = 1; ; attempt += 1) {
      const isLast = attempt === attempts
      let wait = 0.1 * 2 ** attempt
      try {
        const response = await send(request.clone())
        const after = response.headers.get("Retry-After")
        if (isLast || after === null || ![409, 429, 503].includes(response.status)) return response
        await response.body?.cancel()
        wait = Math.max(wait, Number(after))
      } catch (error) {
        if (isLast || !hasOneEffect || request.signal.aborted) throw error
      }
      await pause(wait, request.signal)
    }
  }
}

/** Waits for up to half as long again, so that clients do not come back all at once. */
export async function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  const milliseconds = 1000 * Math.min(seconds, MOST_SECONDS) * (1 + Math.random() / 2)
  await delay(milliseconds, undefined, signal === undefined ? {} : { signal })
}
