// The server closes its event stream once it has no event left. On a slow network Gradio's client learns of this late,
// and an event that it sends until then would be answered on a stream that nobody reads. So while an event has no
// last message, the stream is reopened unseen by the client.
const JOIN = /\/gradio_api\/queue\/join/, STREAM = /\/gradio_api\/queue\/data/;
const COMPLETED = /^data: {"msg":"process_completed","event_id":"(\w+)"/, CLOSE = /^data: {"msg":"close_stream"/;
const joining = new Set();  // requests for an event that the server has not answered
const open = new Set();  // ids of events without their last message
const early = new Set();  // ids whose last message came before the reply that names them

const plainFetch = window.fetch;

async function join(address, options) {
  const reply = plainFetch(address, options), settled = reply.then(addEvent, () => {});
  joining.add(settled);
  await settled;
  joining.delete(settled);
  return reply;
}

async function addEvent(reply) {
  const { event_id: id } = await reply.clone().json().catch(() => ({}));
  if (id && !early.delete(id)) open.add(id);
}

async function hasOpenEvents() {
  while (joining.size) await Promise.all(joining);
  return open.size > 0;
}

// Passes the server's messages on, one by one. Returns whether the stream must be reopened.
async function relay(reply, out) {
  const encoder = new TextEncoder(), reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the server's stream broke off");
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) {
      const id = COMPLETED.exec(message)?.[1];
      if (id && !open.delete(id)) early.add(id);
      const isEnd = CLOSE.test(message), isReopened = isEnd && await hasOpenEvents();
      if (!isReopened) out.enqueue(encoder.encode(message + "\n\n"));
      if (isEnd) {
        reader.cancel().catch(() => {});
        return isReopened;
      }
    }
  }
}

async function stream(address, options) {
  const reply = await plainFetch(address, options);
  if (!reply.ok) return reply;
  const body = new ReadableStream({ async start(out) {
    try {
      for (let part = reply; await relay(part, out); ) {
        part = await plainFetch(address, options);
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
  return STREAM.test(url) ? stream(address, options) : plainFetch(address, options);
};
