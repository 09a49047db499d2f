// Files go to the field that their content asks for, whatever their names say and wherever they were dropped. Gradio
// goes by what the system calls a file: never a GIF a video, on many systems neither an .mkv nor an IMG_0001.MOV.
// What is neither picture nor video goes where it was put: the server says what is wrong with it.
const FIELDS = { player: "video", picture: "picture" }, PLACE = { video: "#player", picture: "#picture" };
// For the system's dialogue, which shows only what it knows.
const ENDINGS = ("mp4 m4v mov qt 3gp 3g2 mkv mk3d webm avi flv f4v ts mts m2ts mpg mpeg vob wmv asf mxf ogv rm nut ivf dv " +
  "gxf wtv y4m h264 264 hevc h265 265 gif apng heic avif").split(" ");
const LONGEST_GIF = 64_000_000, MOST_CHUNKS = 1000, WAIT_MILLISECONDS = 5000;
const PICTURES = ["\xff\xd8\xff", "BM", "II*\0", "MM\0*", "\0\0\x01\0"];
const PICTURE_BRANDS = ["avif", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"];
const VIDEOS = ["\x1aE\xdf\xa3", "FLV\x01", "OggS", "0&\xb2u", "\0\0\x01\xba", "\0\0\x01\xb3", "\0\0\x01", "\0\0\0\x01",
  "\x06\x0e+4", ".RMF", "nut/", "DKIF", "YUV4MPEG2", "\x1f\x07\0", "\xb7\xd8\0 "];
const ATOMS = ["ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "moof", "styp"];

const bytesOf = async (file, start, length) => new Uint8Array(await file.slice(start, start + length).arrayBuffer());
const letters = (bytes) => String.fromCharCode(...bytes);

// "picture", "video", or null. The server tells them apart in the same way (still.py). A stream of JPEGs begins like one.
async function kindOf(file) {
  const head = letters(await bytesOf(file, 0, 512));
  if (head.startsWith("\x89PNG")) return await isMovingPng(file) ? "video" : "picture";
  if (head.startsWith("GIF8")) return await isMovingGif(file) ? "video" : "picture";
  if (head.startsWith("RIFF") && head.slice(8, 12) === "WEBP")
    return head.slice(12, 16) === "VP8X" && head.charCodeAt(20) & 2 ? "video" : "picture";
  if (ATOMS.includes(head.slice(4, 8))) return PICTURE_BRANDS.includes(head.slice(8, 12)) ? "picture" : "video";
  if (PICTURES.some((start) => head.startsWith(start)) || /^P[1-6]\s/.test(head))
    return /\.mjpe?g$/i.test(file.name) ? null : "picture";
  const isVideo = VIDEOS.some((start) => head.startsWith(start)) || head.startsWith("RIFF") ||
    (head[0] === "G" && head[188] === "G") || (head[4] === "G" && head[196] === "G");
  return isVideo ? "video" : null;
}

// An animated PNG says so, and how many pictures it has, before its first picture.
async function isMovingPng(file) {
  for (let at = 8, chunks = 0; chunks < MOST_CHUNKS; chunks++) {
    const bytes = await bytesOf(file, at, 12), kind = letters(bytes.subarray(4, 8));
    if (bytes.length < 12 || kind === "IDAT") return false;
    const view = new DataView(bytes.buffer);
    if (kind === "acTL") return view.getUint32(8) > 1;
    at += 12 + view.getUint32(0);
  }
  return false;
}

// A GIF moves where a second picture follows the first.
async function isMovingGif(file) {
  if (file.size > LONGEST_GIF) return true;
  const bytes = await bytesOf(file, 0, file.size), table = (flags) => flags & 128 ? 3 << (flags & 7) + 1 : 0;
  let at = 13 + table(bytes[10]), pictures = 0;
  while (at < bytes.length && bytes[at] !== 0x3b) {
    if (bytes[at] === 0x2c) { pictures += 1; at += 11 + table(bytes[at + 9]); }
    else if (bytes[at] === 0x21) at += 2;
    else return false;
    if (pictures > 1) return true;
    while (bytes[at]) at += bytes[at] + 1;
    at += 1;
  }
  return false;
}

// As Gradio's check takes it.
function renamed(file, field) {
  const family = field === "video" ? "video/" : "image/";
  return file.type.startsWith(family) ? file : new File([file], file.name, { type: `${family}x-unknown` });
}

const chooserOf = (field) => document.querySelector(`${PLACE[field]} input[type=file]`);

// The field's chooser, once it is there: its tab may be closed, and a file in it makes room first.
async function openChooser(field) {
  document.querySelector(`#${field}-tab-button[aria-selected=false]`)?.click();
  for (const end = performance.now() + WAIT_MILLISECONDS; performance.now() < end; ) {
    const chooser = chooserOf(field);
    if (chooser) return chooser;
    // The button that clears the field: its name differs from language to language.
    document.querySelector(`${PLACE[field]} .icon-button-wrapper > button:last-of-type`)?.click();
    await new Promise((go) => setTimeout(go, 50));
  }
  return null;
}

async function place(file, field) {
  const target = await kindOf(file).catch(() => null) ?? field, chooser = await openChooser(target);
  if (!chooser) return;
  const kept = new DataTransfer();
  kept.items.add(renamed(file, target));
  chooser.files = kept.files;
  chooser.dispatchEvent(new CustomEvent("change", { bubbles: true, detail: "placed" }));
}

const fieldOf = (node) => FIELDS[node.closest?.("#player, #picture")?.id];
const isChooser = (node) => node.type === "file" && fieldOf(node);
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("click", ({ target }) => {
  if (isChooser(target)) target.accept = ["video/*", "image/*", ...ENDINGS.map((ending) => `.${ending}`)].join(",");
}, true);
document.addEventListener("change", (event) => {
  const [file] = isChooser(event.target) ? event.target.files : [];
  if (!file || event.detail === "placed") return;
  event.stopImmediatePropagation();
  place(file, fieldOf(event.target));
}, true);
// A file that is dropped beside the fields would take the page's place in its tab.
document.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); }, true);
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  const field = fieldOf(event.target), [file] = event.dataTransfer.files;
  if (!field || !file) return;
  event.stopImmediatePropagation();
  event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));  // Gradio ends its highlight
  place(file, field);
}, true);
