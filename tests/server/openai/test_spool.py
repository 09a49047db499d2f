"""Files in JSON are decoded to the disk while the request arrives."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator

import pytest

from longva_demo.server.openai import spool as module
from longva_demo.server.openai.spool import MAX_DATA_URL_BYTES, MAX_TEXT_BYTES, SLICE_BYTES, Spool, SpoolError

RANDOM = random.Random(7)
VIDEO, PICTURE = RANDOM.randbytes(300_001), RANDOM.randbytes(70_000)


def data_url(data: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def spool() -> Iterator[Spool]:
    spool = Spool()
    yield spool
    spool.close()


def feed(spool: Spool, text: str | bytes, size: int = 10_000) -> int:
    body = text.encode() if isinstance(text, str) else text
    return sum(spool.feed(body[at : at + size]) for at in range(0, len(body), size))


def found(spool: Spool, reference: str) -> bytes:
    """The file of a reference, whose hash is right."""
    incoming = spool.files[reference]
    data = incoming.path.read_bytes()
    assert incoming.sha256 == hashlib.sha256(data).hexdigest()
    return data


@pytest.mark.parametrize("size", [3, 7, 4096, 65_536, 10**9])
@pytest.mark.parametrize("slashes", [False, True])
def test_files_leave_the_json(spool: Spool, size: int, slashes: bool) -> None:
    """However the body is cut, and with escaped slashes, as PHP writes them."""
    sent = {'a "quoted" \\ text': ["é\n", 1.5, None], "video": data_url(VIDEO), "picture": data_url(PICTURE), "b": "c"}
    text = json.dumps(sent)
    written = feed(spool, text.replace("/", "\\/") if slashes else text, size)
    assert written == len(VIDEO) + len(PICTURE)
    got = json.loads(spool.rest)
    assert found(spool, got.pop("video")) == VIDEO
    assert found(spool, got.pop("picture")) == PICTURE
    assert got == {key: value for key, value in sent.items() if key not in ("video", "picture")}
    assert len(spool.rest) < 500


def test_forms_of_base64(spool: Spool) -> None:
    plain = base64.b64encode(VIDEO).decode()
    forms = [
        plain,
        plain.rstrip("="),
        base64.urlsafe_b64encode(VIDEO).decode(),
        f"data:;base64,{plain}",
        "\n".join(plain[at : at + 76] for at in range(0, len(plain), 76)),
    ]
    assert plain.endswith("=")
    feed(spool, json.dumps(forms))
    assert [found(spool, reference) for reference in json.loads(spool.rest)] == [VIDEO] * len(forms)


def test_texts_stay(spool: Spool) -> None:
    """Long ones, those that look like base64 at first, and short data URLs."""
    texts = [
        "word " * 20_000,
        "A" * 40_000,
        ("a" * 40_000 + " ") * 2,
        data_url(b"x" * 500),
        "data:" + "?" * 3000,
        "\\" * 9,
    ]
    assert feed(spool, json.dumps(texts)) == 0
    assert json.loads(spool.rest) == texts
    assert len(data_url(b"x" * 500)) < MAX_DATA_URL_BYTES < 3000 < MAX_TEXT_BYTES < 80_000


@pytest.mark.parametrize(
    "letters",
    [
        "A" * 80_001,
        "A" * 60_000 + "=" + "A" * 3,
        "AA==" * 20_000,
        "A" * 70_000 + "%",
        "A" * 70_000 + "é",
        "A" * 70_000 + "\t",
    ],
)
def test_what_is_not_base64_is_refused(spool: Spool, letters: str) -> None:
    with pytest.raises(SpoolError, match="not valid base64; encode it again"):
        feed(spool, json.dumps({"video": f"data:video/mp4;base64,{letters}"}))


def test_references_cannot_be_forged() -> None:
    names = set()
    for _ in range(2):
        spool = Spool()
        feed(spool, json.dumps([data_url(PICTURE)]))
        names |= set(spool.files)
        spool.close()
    assert len(names) == 2


def test_the_folder_is_deleted(spool: Spool) -> None:
    feed(spool, json.dumps([data_url(PICTURE)]) + '"data:,' + "A" * 5000)
    [incoming] = spool.files.values()
    folder = incoming.path.parent
    assert len(list(folder.iterdir())) == 2
    spool.close()
    assert not folder.exists()


def test_memory_is_bounded(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slice at a time, and what waits for a whole group of four letters."""
    sizes = []
    write = module.Base64File.write

    def watch(self: module.Base64File, text: bytes) -> None:
        sizes.append(len(text))
        write(self, text)

    monkeypatch.setattr(module.Base64File, "write", watch)
    spool.feed(json.dumps(data_url(VIDEO)).encode())
    assert max(sizes) <= 2 * SLICE_BYTES
