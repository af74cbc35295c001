// Follows a stream with an EventSource, and writes each message as a line of JSON.
// The arguments are the stream's URL; STRONGROOM_TOKEN has the token.
import { EventSource } from "eventsource"

const headers = { Authorization: `Bearer ${process.env.STRONGROOM_TOKEN}` }
const source = new EventSource(process.argv[2], {
  fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
})
for (const kind of ["ready", "reset", "message"]) {
  source.addEventListener(kind, ({ data, lastEventId }) => {
    console.log(JSON.stringify({ kind, id: lastEventId, data: JSON.parse(data) }))
  })
}
source.addEventListener("error", ({ code, message }) => {
  if (source.readyState === EventSource.CLOSED) {
    console.error(`the stream was refused: ${code} ${message}`)
    process.exitCode = 1
  }
})
