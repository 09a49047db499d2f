// Puts a file into the field that its content calls for, whatever its name and wherever it was dropped. Gradio goes by
// the system's MIME type: never a GIF as a video, and on many systems neither an .mkv nor an IMG_0001.MOV. A file that
// is neither picture nor video stays where it was put, and the server says what is wrong with it.
const KINDS = { player: "video", picture: "picture" }, FIELDS = { video: "#player", picture: "#picture" };
// For the system's file dialog, which shows only files that it is told of.
const EXTENSIONS = ("mp4 m4v mov qt 3gp 3g2 mkv mk3d webm avi flv f4v ts mts m2ts mpg mpeg vob wmv asf mxf ogv rm " +
  "nut ivf dv gxf wtv y4m h264 264 hevc h265 265 gif apng heic avif").split(" ");
const MAX_GIF_BYTES = 64_000_000, MAX_CHUNKS = 1000, WAIT_MS = 5000, POLL_MS = 50;
// Magic numbers. The server tells files apart in the same way (still.py).
const PICTURES = ["\xff\xd8\xff", "BM", "II*\0", "MM\0*", "\0\0\x01\0"];
const PICTURE_BRANDS = ["avif", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"];
const VIDEOS = ["\x1aE\xdf\xa3", "FLV\x01", "OggS", "0&\xb2u", "\0\0\x01\xba", "\0\0\x01\xb3", "\0\0\x01", "\0\0\0\x01",
  "\x06\x0e+4", ".RMF", "nut/", "DKIF", "YUV4MPEG2", "\x1f\x07\0", "\xb7\xd8\0 "];
const ATOMS = ["ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "moof", "styp"];

const readBytes = async (file, start, length) => new Uint8Array(await file.slice(start, start + length).arrayBuffer());
const toLatin1 = (bytes) => String.fromCharCode(...bytes);

// "picture", "video", or null. A JPEG begins like a stream of JPEGs, so there the name decides.
async function detectKind(file) {
  const head = toLatin1(await readBytes(file, 0, 512));
  if (head.startsWith("\x89PNG")) return await isAnimatedPng(file) ? "video" : "picture";
  if (head.startsWith("GIF8")) return await isAnimatedGif(file) ? "video" : "picture";
  if (head.startsWith("RIFF") && head.slice(8, 12) === "WEBP")
    return head.slice(12, 16) === "VP8X" && head.charCodeAt(20) & 2 ? "video" : "picture";
  if (ATOMS.includes(head.slice(4, 8))) return PICTURE_BRANDS.includes(head.slice(8, 12)) ? "picture" : "video";
  if (PICTURES.some((start) => head.startsWith(start)) || /^P[1-6]\s/.test(head))
    return /\.mjpe?g$/i.test(file.name) ? null : "picture";
  // MPEG-TS has packets of 188 bytes, or of 192 with a time stamp before each.
  const isTransportStream = (head[0] === "G" && head[188] === "G") || (head[4] === "G" && head[196] === "G");
  const isVideo = VIDEOS.some((start) => head.startsWith(start)) || head.startsWith("RIFF") || isTransportStream;
  return isVideo ? "video" : null;
}

// An animated PNG gives its number of frames, in an acTL chunk, before the first one.
async function isAnimatedPng(file) {
  for (let at = 8, chunks = 0; chunks < MAX_CHUNKS; chunks++) {
    const bytes = await readBytes(file, at, 12), kind = toLatin1(bytes.subarray(4, 8));
    if (bytes.length < 12 || kind === "IDAT") return false;
    const view = new DataView(bytes.buffer);
    if (kind === "acTL") return view.getUint32(8) > 1;
    at += 12 + view.getUint32(0);
  }
  return false;
}

// A GIF is animated if a second image follows the first.
async function isAnimatedGif(file) {
  if (file.size > MAX_GIF_BYTES) return true;
  const bytes = await readBytes(file, 0, file.size), tableBytes = (flags) => flags & 128 ? 3 << (flags & 7) + 1 : 0;
  let at = 13 + tableBytes(bytes[10]), images = 0;
  while (at < bytes.length && bytes[at] !== 0x3b) {
    if (bytes[at] === 0x2c) { images += 1; at += 11 + tableBytes(bytes[at + 9]); }
    else if (bytes[at] === 0x21) at += 2;
    else return false;
    if (images > 1) return true;
    while (bytes[at]) at += bytes[at] + 1;
    at += 1;
  }
  return false;
}

// The file with a MIME type that Gradio's check for this field accepts.
function withAcceptedType(file, kind) {
  const family = kind === "video" ? "video/" : "image/";
  return file.type.startsWith(family) ? file : new File([file], file.name, { type: `${family}x-unknown` });
}

const findInput = (kind) => document.querySelector(`${FIELDS[kind]} input[type=file]`);

// The field's file input, once it exists: its tab may be closed, or a file that must be cleared may be in its place.
async function openInput(kind) {
  document.querySelector(`#${kind}-tab-button[aria-selected=false]`)?.click();
  for (const end = performance.now() + WAIT_MS; performance.now() < end; ) {
    const input = findInput(kind);
    if (input) return input;
    // The last button clears the field; its label depends on the language.
    document.querySelector(`${FIELDS[kind]} .icon-button-wrapper > button:last-of-type`)?.click();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return null;
}

// Puts a file into the field for its kind; without a known kind, into the field it was meant for.
async function placeFile(file, intendedKind) {
  const kind = await detectKind(file).catch(() => null) ?? intendedKind, input = await openInput(kind);
  if (!input) return;
  const transfer = new DataTransfer();
  transfer.items.add(withAcceptedType(file, kind));
  input.files = transfer.files;
  input.dispatchEvent(new CustomEvent("change", { bubbles: true, detail: "placed" }));
}

const kindOf = (node) => KINDS[node.closest?.("#player, #picture")?.id];
const isFileInput = (node) => node.type === "file" && kindOf(node);
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("click", ({ target }) => {
  if (isFileInput(target)) target.accept = ["video/*", "image/*", ...EXTENSIONS.map((name) => `.${name}`)].join(",");
}, true);
document.addEventListener("change", (event) => {
  const [file] = isFileInput(event.target) ? event.target.files : [];
  if (!file || event.detail === "placed") return;
  event.stopImmediatePropagation();
  placeFile(file, kindOf(event.target));
}, true);
// The browser would open a file that is dropped beside the fields in place of the page.
document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); }, true);
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  const kind = kindOf(event.target), [file] = event.dataTransfer.files;
  if (!kind || !file) return;
  event.stopImmediatePropagation();
  event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));  // ends Gradio's highlight
  placeFile(file, kind);
}, true);
