// Runs in the page's head. The server ends the stream of its answers once it has no event left. Gradio's client learns of
// this late: what it asks on a slow network until then would be answered on a stream that nobody reads. So the stream is
// opened again, unseen by the client, where an event still waits for its last word.
const JOIN = /\/gradio_api\/queue\/join/, STREAM = /\/gradio_api\/queue\/data/;
const COMPLETED = /^data: {"msg":"process_completed","event_id":"(\w+)"/, CLOSE = /^data: {"msg":"close_stream"/;
const joining = new Set();  // requests for an event that the server has not answered
const waiting = new Set(), early = new Set();  // ids of events: without a last word; with one before they were known

const send = window.fetch;

async function join(address, options) {
  const reply = send(address, options), settled = reply.then(note, () => {});
  joining.add(settled);
  await settled;
  joining.delete(settled);
  return reply;
}

async function note(reply) {
  const { event_id: id } = await reply.clone().json().catch(() => ({}));
  if (id && !early.delete(id)) waiting.add(id);
}

async function isAwaited() {
  while (joining.size) await Promise.all(joining);
  return waiting.size > 0;
}

// Pass on what the server says, message by message; true where the stream is to be opened again.
async function relay(reply, out) {
  const encoder = new TextEncoder(), reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the server's stream broke off");
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const id = COMPLETED.exec(message)?.[1];
      if (id && !waiting.delete(id)) early.add(id);
      const isEnd = CLOSE.test(message), goesOn = isEnd && await isAwaited();
      if (!goesOn) out.enqueue(encoder.encode(message + "\n\n"));
      if (isEnd) {
        reader.cancel().catch(() => {});
        return goesOn;
      }
    }
  }
}

async function stream(address, options) {
  const reply = await send(address, options);
  if (!reply.ok) return reply;
  const body = new ReadableStream({ async start(out) {
    try {
      for (let part = reply; await relay(part, out); ) {
        part = await send(address, options);
        if (!part.ok) throw new Error(`the server's stream has status ${part.status}`);
      }
      out.close();
    } catch (error) {
      out.error(error);  // the connection was lost, or the client closed it
    }
  } });
  return new Response(body, { status: reply.status, headers: reply.headers });
}

window.fetch = (address, options) => {
  const url = address.url ?? String(address);
  if (JOIN.test(url)) return join(address, options);
  return STREAM.test(url) ? stream(address, options) : send(address, options);
};
