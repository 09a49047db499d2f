// Sends a file while the page shows it, with what has arrived and how long the rest will take. If the connection breaks,
// the same file can be sent again.
const RATE_MS = 5000;  // the speed is that of the last so many ms
const DRAW_MS = 200;

// Sends once. `onProgress` gets the bytes that were sent and all. Rejects if the connection breaks.
function sendOnce(address, { body, headers }, signal, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    new Headers(headers).forEach((value, name) => request.setRequestHeader(name, value));
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(loaded, total));
    request.addEventListener("load", () => resolve(new Response(request.responseText, {
      status: request.status,
      headers: { "content-type": request.getResponseHeader("content-type") ?? "" },
    })));
    request.addEventListener("error", () => reject(new Error("the connection was lost")));
    signal.addEventListener("abort", () => { request.abort(); reject(signal.reason); });
    request.send(body);
  });
}

// The local file in the field that it is sent to. The server may need another way to show it (preview).
function makeLocalView(file) {
  const view = document.createElement(file.type.startsWith("image/") ? "img" : "video");
  const url = URL.createObjectURL(file);
  Object.assign(view, { className: "upload-view", alt: "", muted: true, controls: true, playsInline: true, src: url });
  view.addEventListener("error", () => { view.hidden = true; });
  return view;
}

// Covers the field that is open. Returns `show(sent, total)`, `waitForRetry()` and `remove()`.
function cover(file) {
  const field = [...document.querySelectorAll("#player, #picture")].find((one) => one.checkVisibility());
  const box = make("div", "upload"), view = makeLocalView(file), line = make("p", "upload-line");
  const name = make("b", "", file.name), figures = make("span", ""), bar = make("progress", "");
  const again = makeTool("again", () => {}), cancel = makeTool("cancel", () => selection.cancelUploads());
  const samples = [];  // [ms, bytes] of the last RATE_MS
  let drawnAt = -Infinity;
  bar.setAttribute("aria-label", say("upload.label", { name: file.name }));
  bar.value = 0;
  again.hidden = true;
  line.append(name, figures, again, cancel);
  box.append(view, bar, line);
  field?.append(box);

  function figuresText(sent, total, now) {
    const [[firstMs, firstBytes]] = samples, rate = (sent - firstBytes) / (now - firstMs) * 1000;
    const text = say("upload.figures", { share: sent / total, sent_bytes: sent, total_bytes: total });
    if (!(rate > 0) || now - firstMs < 1000 || sent === total) return text;
    return `${text} · ${say("upload.rate", { bytes: rate, interval: Math.max(1, (total - sent) / rate) })}`;
  }

  return {
    show(sent, total) {
      const now = performance.now();
      samples.push([now, sent]);
      while (samples.length > 1 && samples[0][0] < now - RATE_MS) samples.shift();
      bar.max = total;
      bar.value = sent;
      if (now - drawnAt < DRAW_MS && sent < total) return;
      drawnAt = now;
      figures.textContent = figuresText(sent, total, now);
    },
    async waitForRetry() {
      samples.length = 0;
      again.hidden = false;
      figures.textContent = say("upload.broken");
      figures.setAttribute("role", "alert");
      await new Promise((resolve) => again.addEventListener("click", resolve, { once: true }));
      figures.removeAttribute("role");
      again.hidden = true;
    },
    remove() {
      URL.revokeObjectURL(view.src);
      box.remove();
    },
  };
}

// Resolves with the server's reply, or rejects once it was aborted.
window.sendUpload = async (address, options, signal) => {
  const shown = cover(options.body.get("files"));
  signal.addEventListener("abort", shown.remove);
  for (;;) {
    try {
      const reply = await sendOnce(address, options, signal, shown.show);
      shown.remove();
      return reply;
    } catch (error) {
      if (signal.aborted) throw error;
      await shown.waitForRetry();
    }
  }
};
