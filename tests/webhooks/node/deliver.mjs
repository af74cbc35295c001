// Sends deliveries as GitHub does, signed by GitHub's own library.
//
// node deliver.mjs URL, with the secret token in the first line of standard input, as JSON, and in
// each further one {"guid", "event", "payload"}. Prints a line for each: {"guid", "status", "id",
// "body"}.

import { createInterface } from "node:readline";
import { sign, verify } from "@octokit/webhooks-methods";

const url = process.argv[2];
let token;
for await (const line of createInterface({ input: process.stdin })) {
  if (token === undefined) {
    token = JSON.parse(line);
    continue;
  }
  const { guid, event, payload } = JSON.parse(line);
  const body = JSON.stringify(payload);
  const signature = await sign(token, body);
  if (!(await verify(token, body, signature))) throw new Error("the library contradicts itself");
  const response = await fetch(url, {
    method: "POST",
    body,
    headers: {
      "Accept": "*/*",
      "Content-Type": "application/json",
      "User-Agent": "GitHub-Hookshot/044aadd",
      "X-GitHub-Delivery": guid,
      "X-GitHub-Event": event,
      "X-Hub-Signature-256": signature,
    },
  });
  const { id } = await response.json();
  console.log(JSON.stringify({ guid, status: response.status, id, body }));
}
