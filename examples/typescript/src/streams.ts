// Streams of events and logs (Server-Sent Events), read with fetch: unlike a browser's EventSource
// it can send a token. The stream is opened again where it broke off.
import { pause, ProblemError, type Problem } from "./strongroom.js"

/** What a stream tells. `id` is where it goes on. */
export type Told<I> =
  | { kind: "message"; id: string; data: I }
  /** What is read after it is complete with what follows. */
  | { kind: "ready"; id: string; data: { last_id: number } }
  /** Something was missed: read everything again after the `ready` that follows. */
  | { kind: "reset"; id: string; data: { reason: string } }

type Opened = {
  data?: ReadableStream<Uint8Array> | null
  error?: Problem
  response: Response
}
/** Opens the stream after this id, or at its beginning. */
type Open = (after: string | undefined, signal: AbortSignal) => Promise<Opened>

/** The service sends something at least every 15 seconds. */
const SILENCE_SECONDS = 45
const TEMPORARY = [429, 500, 502, 503, 504]

/** Follows a stream without an end, until `signal`. Throws a `ProblemError` if it is refused. */
export async function* follow<I>(
  open: Open,
  signal: AbortSignal = new AbortController().signal,
): AsyncGenerator<Told<I>, void, undefined> {
  let last: string | undefined
  let failures = 0
  let least = 0
  while (!signal.aborted) {
    const silence = new AbortController()
    let timer = setTimeout(() => silence.abort(), 1000 * SILENCE_SECONDS)
    try {
      const { data, error, response } = await open(last, AbortSignal.any([signal, silence.signal]))
      if (data) {
        const heard = () => timer.refresh()
        for await (const message of messages(data, heard, (seconds) => (least = seconds))) {
          failures = 0
          last = message.id
          yield message as Told<I>
        }
      } else if (!TEMPORARY.includes(response.status)) {
        throw error ? new ProblemError(error) : new Error(`the stream got ${response.status}`)
      }
    } catch (error) {
      if (error instanceof ProblemError) throw error
      if (!isBroken(error)) throw error
    } finally {
      clearTimeout(timer)
    }
    if (signal.aborted) return
    await pause(Math.max(least, 0.1 * 2 ** failures), signal).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
    failures = Math.min(failures + 1, 8)
    least = 0
  }
}

/** Whether the connection broke off, which fetch says in several ways. */
function isBroken(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof Error && error.name === "AbortError")
}

type Message = { kind: string; id: string; data: unknown }

/** The messages of a stream. Comments keep it alive, and are left out. */
async function* messages(
  body: ReadableStream<Uint8Array>,
  heard: () => void,
  comeBackAfter: (seconds: number) => void,
): AsyncGenerator<Message, void, undefined> {
  let fields = new Map<string, string>()
  let id = ""
  for await (const line of lines(body, heard)) {
    if (line === "") {
      const data = fields.get("data")
      id = fields.get("id") ?? id
      const retry = fields.get("retry")
      if (retry !== undefined) comeBackAfter(Number(retry) / 1000)
      if (data !== undefined) {
        yield { kind: fields.get("event") ?? "message", id, data: JSON.parse(data) as unknown }
      }
      fields = new Map()
    } else if (!line.startsWith(":")) {
      const colon = line.indexOf(":")
      // The service puts a blank behind the colon, and all data on one line.
      fields.set(line.slice(0, colon), line.slice(colon + 1).trimStart())
    }
  }
}

async function* lines(
  body: ReadableStream<Uint8Array>,
  heard: () => void,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let rest = ""
  for await (const bytes of body) {
    heard()
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n")
    rest = parts.pop() ?? ""
    yield* parts
  }
}
