// Does the main job with a client that is made from openapi.yaml: waits for the QR, for the
// phone that scans it, sends a message, follows it until it was delivered, and reads what was
// received in pages. What the service refuses has a code.
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

/** send sends a text by this key, and returns how it was answered: a status or a problem's code. */
async function send(key: string, recipient: string, text: string): Promise<[string, Schemas["Message"] | undefined]> {
  const { data, error, response } = await client.POST("/messages", {
    params: { header: { "Idempotency-Key": key } },
    body: { to: recipient, type: "text", text: { body: text, preview: false } },
  });
  return [error?.code ?? String(response.status), data];
}

/** receive reads one event a page, from the first to the one with this text, and returns all texts. */
async function receive(last: string): Promise<string[]> {
  const texts: string[] = [];
  for (let after: string | undefined; texts.at(-1) !== last; ) {
    const page = data(await client.GET("/messages", { params: { query: { direction: "in", limit: 1, wait: "25s", after } } }));
    if (page.messages.length > 1) throw new Error(`${page.messages.length} events on a page of one`);
    for (const event of page.messages) if (event.event === "message" && event.type === "text") texts.push(event.text ?? "");
    after = page.next;
  }
  return texts;
}

const [early] = await send("early", to, "Too early.");
await reach("QR_REQUIRED");
const qr = data(await client.GET("/qr", { params: { query: { wait: "25s", not: ["NO_QR"] } } }));
if (typeof qr === "string" || qr.status !== "QR_AVAILABLE") throw new Error("there is no QR");
writeFileSync(file, Buffer.from(qr.qr, "base64"));
console.log("qr");
await reach("READY");
const events = await client.GET("/events", { params: { query: { types: "message.status" } }, parseAs: "stream" });
const hello = "Hello from a generated client.";
const [status, message] = await send("order-17", to, hello);
if (!message) throw new Error(status);
console.log("accepted", message.id);
await follow(events.data as unknown as ReadableStream<Uint8Array>, message.id, "delivered");
const [again, same] = await send("order-17", to, hello);
const [conflict] = await send("order-17", to, "Another text.");
const [nobody] = await send("order-18", "12", hello);
console.log("answers", early, status, again, same?.id === message.id, conflict, nobody);
console.log("texts", (await receive("two")).join(" "));
process.exit(0);
