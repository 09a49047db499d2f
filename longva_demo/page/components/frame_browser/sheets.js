// Fetches the sprite sheets of a sampled view, which come as one HTTP response of records (see `make_record` in
// frame_browser/__init__.py). Calls `onSheet(facts, jpeg, isWanted)` for each, waits for it, and then `onProgress()`;
// `onProgress(done)` also tells how many frames are decoded but not here yet. At the end `onDone()` or `onFailure()`.
// `start` and `stop` end the previous fetch, which calls nothing from then on.
function createSheetFetcher({ onSheet, onProgress, onDone, onFailure }) {
  const MAX_RETRIES = 3, RETRY_MS = 1000, LENGTHS_BYTES = 8;
  let current = null;  // the AbortController of the running fetch

  // Reads exact numbers of bytes from a streamed response; null at its end.
  function createByteReader(stream) {
    const reader = stream.getReader();
    let buffer = new Uint8Array(0);
    return async (count) => {
      const parts = [buffer];
      let length = buffer.length;
      while (length < count) {
        const { done, value } = await reader.read();
        if (done) return null;
        parts.push(value);
        length += value.length;
      }
      const all = new Uint8Array(length);
      let at = 0;
      for (const part of parts) { all.set(part, at); at += part.length; }
      buffer = all.subarray(count);
      return all.subarray(0, count);
    };
  }

  // Yields {facts, jpeg}: a record is two lengths, big-endian uint32, then the facts as JSON, then the JPEG.
  async function* readRecords(stream) {
    const read = createByteReader(stream);
    for (let lengths; (lengths = await read(LENGTHS_BYTES)); ) {
      const view = new DataView(lengths.buffer, lengths.byteOffset, LENGTHS_BYTES);
      const facts = JSON.parse(new TextDecoder().decode(await read(view.getUint32(0))));
      yield { facts, jpeg: (await read(view.getUint32(4))).slice() };
    }
  }

  // A lost connection is reopened. The server sends everything again, and frames that are here already are skipped.
  async function start(url) {
    stop();
    const aborter = current = new AbortController(), isWanted = () => aborter === current;
    let numReceived = 0;

    // Returns false if the connection must be reopened.
    async function fetchOnce() {
      let numSent = 0;
      try {
        const response = await fetch(url, { signal: aborter.signal });
        if (!response.ok) return false;
        for await (const { facts, jpeg } of readRecords(response.body)) {
          if (!facts.count) {
            if (isWanted()) onProgress(facts.done);
            continue;
          }
          numSent += facts.count;
          if (numSent <= numReceived) continue;
          if (isWanted()) await onSheet(facts, jpeg, isWanted);
          if (!isWanted()) return true;
          numReceived = numSent;
          onProgress();
        }
        if (isWanted()) onDone();
        return true;
      } catch (error) {
        if (error.name !== "AbortError") console.warn("the frames could not be fetched:", error);
        return !isWanted();
      }
    }

    for (let tries = 0; isWanted(); tries++) {
      if (await fetchOnce()) return;
      if (tries === MAX_RETRIES) { onFailure(); return; }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  function stop() {
    current?.abort();
    current = null;
  }

  return { start, stop };
}
