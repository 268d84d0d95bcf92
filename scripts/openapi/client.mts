// Does the main job with a client that is made from openapi.yaml: waits for the QR, for the
// phone that scans it, sends a message, and follows it until it was delivered.
import createClient from "openapi-fetch";
import { writeFileSync } from "node:fs";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];
const [baseUrl, file, to] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl });

/** data returns what an answer has, and ends the program on a problem. */
function data<T>(answer: { data?: T; error?: Schemas["Problem"] }): T {
  if (answer.data === undefined) throw new Error(`${answer.error?.code}: ${answer.error?.detail}`);
  return answer.data;
}

/** reach waits until the session has a status. */
async function reach(want: Schemas["Status"]): Promise<void> {
  for (let status: Schemas["Status"] = "INIT"; status !== want; ) {
    const seen: Schemas["Status"][] = [status];
    status = data(await client.GET("/status", { params: { query: { wait: "25s", not: seen } } })).status;
  }
}

/** follow returns once the status of a message was reported by an event. */
async function follow(stream: ReadableStream<Uint8Array>, id: string, want: Schemas["MessageStatus"]): Promise<void> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines.filter((l) => l.startsWith("data: "))) {
      const event: Schemas["MessageEvent"] = JSON.parse(line.slice("data: ".length));
      if (event.id === id) console.log("message", event.status);
      if (event.id === id && event.status === want) return;
    }
  }
}

await reach("QR_REQUIRED");
const qr = data(await client.GET("/qr", { params: { query: { wait: "25s", not: ["NO_QR"] } } }));
if (typeof qr === "string" || qr.status !== "QR_AVAILABLE") throw new Error("there is no QR");
writeFileSync(file, Buffer.from(qr.qr, "base64"));
console.log("qr");
await reach("READY");
const events = await client.GET("/events", { params: { query: { types: "message.status" } }, parseAs: "stream" });
const message = data(await client.POST("/messages", {
  params: { header: { "Idempotency-Key": "order-17" } },
  body: { to, type: "text", text: { body: "Hello from a generated client.", preview: false } },
}));
console.log("accepted", message.id);
await follow(events.data as unknown as ReadableStream<Uint8Array>, message.id, "delivered");
process.exit(0);
