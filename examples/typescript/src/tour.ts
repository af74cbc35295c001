// The first session of the README, and what comes after it.
import { connect, items, ProblemError, tagOf, take } from "./strongroom.js"

const url = process.env["STRONGROOM_URL"] ?? "http://127.0.0.1:8000"
const client = connect({ url, token: process.env["STRONGROOM_TOKEN"] ?? "" })

// A project with its settings and a secret: all of it, or nothing.
const payments = {
  name: "Payments",
  github_owner: "acme",
  github_repo: "payments",
  settings: { planning_statement: "Plan before coding.", setup_commands: "npm ci" },
  secrets: [{ key: "API_KEY", value: "a made-up value" }],
}
const project = await take(client.POST("/api/projects", { body: payments }))

// Everything about it in one read; the secret without its value.
const path = { project_id: project.id }
const found = await take(
  client.GET("/api/projects/by-repo/{owner}/{repo}", {
    params: { path: { owner: "acme", repo: "payments" } },
  }),
)
const full = await take(client.GET("/api/projects/{project_id}/full", { params: { path } }))
console.log(`${found.name} has ${full.secret_count} secret`)

// The value, on purpose.
const secret = await take(
  client.GET("/api/projects/{project_id}/secrets/{key}/value", {
    params: { path: { ...path, key: "API_KEY" } },
  }),
)
console.log(`${secret.key} has ${secret.value.length} characters`)

// Each code has its own members, which `problem.code` opens.
const again = await client.POST("/api/projects", { body: payments })
if (again.error?.code === "project_exists") {
  console.log(`the repository belongs to project ${again.error.existing_id}`)
}

// Change only what you have seen: with the ETag of the read as If-Match.
const read = await client.GET("/api/projects/{project_id}", { params: { path } })
const seen = { path, header: { "If-Match": tagOf(read.response) } }
const changed = await take(
  client.PATCH("/api/projects/{project_id}", { params: seen, body: { name: "Payments 2" } }),
)
console.log(`the name is ${changed.name}`)
try {
  await take(client.PATCH("/api/projects/{project_id}", { params: seen, body: { name: "Lost" } }))
} catch (error) {
  if (!(error instanceof ProblemError) || error.problem.code !== "version_mismatch") throw error
  console.log(`somebody was faster: the present tag is ${error.problem.etag}`)
}

// What was read can be sent back: members that only answers have are ignored.
await take(client.PUT("/api/projects/{project_id}", { params: { path }, body: changed }))

// A key of your own makes a request safe to repeat, also after a crash of your program.
const order = {
  params: { header: { "Idempotency-Key": "order-17" } },
  body: { project_id: project.id, target_text: "Add a dark mode" },
}
const first = await take(client.POST("/api/agent-runs", order))
const second = await client.POST("/api/agent-runs", order)
console.log(
  `run ${first.run_number} is still run ${second.data?.run_number}:`,
  second.response.headers.get("Idempotency-Replayed") === "true" ? "replayed" : "new",
)

// A list as an async iterator, here with pages of two.
for (const target_text of ["Add a light mode", "Add a quiet mode"]) {
  await take(client.POST("/api/agent-runs", { body: { project_id: project.id, target_text } }))
}
const runs = items(
  (cursor) =>
    take(
      client.GET("/api/agent-runs", {
        params: { query: { status: ["pending"], sort: "created_at", limit: 2, cursor } },
      }),
    ),
  (page) => page.agent_runs,
)
for await (const run of runs) console.log(`run ${run.run_number}: ${run.target_text}`)

// A worker's claim waits for work; 204 means that there was none.
const claimed = await client.POST("/api/agent-runs/claim", {
  params: { header: { Prefer: "wait=5" } },
  body: { worker: "tour", project_ids: [project.id] },
})
const claim = await take(Promise.resolve(claimed))
if (claim !== undefined && "lease_token" in claim) {
  const { id, lease_token } = claim
  const done = await take(
    client.POST("/api/agent-runs/{run_id}/transitions", {
      params: { path: { run_id: id } },
      body: { to: "completed", result: "Opened PR 7", lease_token },
    }),
  )
  console.log(`run ${done.run_number} is ${done.status}`)
}
