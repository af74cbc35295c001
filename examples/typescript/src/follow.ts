// Follows all events from the oldest on, and writes each as a line of JSON.
import { connect, type Schemas } from "./strongroom.js"
import { follow } from "./streams.js"

const url = process.env["STRONGROOM_URL"] ?? "http://127.0.0.1:8000"
const client = connect({ url, token: process.env["STRONGROOM_TOKEN"] ?? "" })
const stop = new AbortController()
process.once("SIGTERM", () => stop.abort())

const events = follow<Schemas["Event"]>(
  (after, signal) =>
    client.GET("/api/events", {
      params: after === undefined ? { query: { after: "0" } } : { header: { "Last-Event-ID": after } },
      headers: { Accept: "text/event-stream" },
      parseAs: "stream",
      signal,
    }),
  stop.signal,
)
for await (const message of events) console.log(JSON.stringify(message))
