"""The API over HTTP: whole and streamed answers, files, further turns, and bodies that were recorded from clients."""

import base64
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from tests.server.openai.support import CHAT, EXAMPLES, RESPONSES, about, data_url, events, text_of
from tests.support.clips import write_clip
from tests.support.server import serving

pytestmark = pytest.mark.slow
CLIP, WHICH_WAY = EXAMPLES / "motion.mp4", "Which way does it move?"
DATA = Path(__file__).parent / "data"


@pytest.fixture
def client(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=60)


def complete(client: httpx.Client, messages: Any, **fields: Any) -> dict[str, Any]:
    reply = client.post(CHAT, json={"messages": messages, **fields})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def answer_of(completion: dict[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])


def test_the_models(client: httpx.Client) -> None:
    [card] = client.get("/v1/models").json()["data"]
    assert card["id"] == "tiny"
    assert card["largest_num_frames"] == 2000
    assert card["max_model_len"] > 10_000
    assert card["architecture"]["input_modalities"] == ["text", "image", "video"]
    for name in ("tiny", "longva"):
        assert client.get(f"/v1/models/{name}").json() == card


def test_an_answer_about_a_video_is_that_of_the_page(client: httpx.Client, address: str) -> None:
    found = complete(client, about(data_url(CLIP), WHICH_WAY), num_frames=16)
    gradio = Client(address, verbose=False)
    expected = gradio.predict(question=WHICH_WAY, video=handle_file(CLIP), num_frames=16, api_name="/chat")
    sampled = gradio.predict(video=handle_file(CLIP), num_frames=16, api_name="/sample_frames")
    [choice] = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected, "refusal": None, "annotations": []}
    assert choice["finish_reason"] == "stop"
    assert found["longva"]["frames"] == sampled["frames"]
    assert found["longva"]["prefix_cache"] == "miss"
    assert found["longva"]["seconds_to_first_token"] > 0
    assert "attribution" not in found["longva"]
    assert (found["object"], found["model"]) == ("chat.completion", "tiny")
    usage = found["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > sampled["cost"]["num_tokens"]


def test_a_stream_has_the_same_text(client: httpx.Client) -> None:
    body = {"messages": about(data_url(CLIP), WHICH_WAY), "num_frames": 16}
    whole = complete(client, **body)
    with client.stream("POST", CHAT, json={**body, "stream": True, "stream_options": {"include_usage": True}}) as reply:
        lines = list(reply.iter_lines())
    assert reply.headers["content-type"].startswith("text/event-stream")
    first, *chunks, closing, usage = events(lines)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text_of(chunks) == answer_of(whole)
    assert closing["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert closing["longva"]["frames"] == whole["longva"]["frames"]
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], whole["usage"]["total_tokens"])
    assert {chunk["id"] for chunk in (first, *chunks, closing, usage)} == {first["id"]}
    assert lines[-2] == "data: [DONE]"


def test_a_later_turn_finds_its_video_in_the_cache(client: httpx.Client) -> None:
    """The whole conversation comes again, with the video. Nothing but the new question is prefilled."""
    messages: list[Any] = about(data_url(CLIP), WHICH_WAY)
    first = complete(client, messages, num_frames=17)
    messages += [{"role": "assistant", "content": answer_of(first)}, {"role": "user", "content": "What shape is it?"}]
    second = complete(client, messages, num_frames=17)
    assert second["longva"]["prefix_cache"] == "hit"
    usage = second["usage"]
    assert first["usage"]["prompt_tokens"] < usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    assert answer_of(complete(client, messages, num_frames=17)) == answer_of(second)  # "regenerate"
    other = complete(client, messages, num_frames=18)
    assert other["longva"]["prefix_cache"] == "miss"
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_an_edited_history_counts(client: httpx.Client) -> None:
    """The client's words are what was said, whatever this server had answered."""
    question = {"role": "user", "content": "What can you do?"}
    told = complete(client, [question, {"role": "assistant", "content": "Nothing."}, question])
    fresh = complete(client, [question])
    assert told["usage"]["prompt_tokens"] > fresh["usage"]["prompt_tokens"]


def test_a_range_of_the_video(client: httpx.Client, clip: Path) -> None:
    found = complete(client, about(data_url(clip), WHICH_WAY), num_frames=5, start=2, end="0:07")
    seconds = [frame["seconds"] for frame in found["longva"]["frames"]]
    assert len(seconds) == 5
    assert 2 <= min(seconds) < max(seconds) < 7


def test_attribution_on_request(client: httpx.Client) -> None:
    messages = about(data_url(EXAMPLES / "needle.mp4"), "Which digit is shown?")
    found = complete(client, messages, num_frames=64, longva={"attribution": True})
    shown = {frame["index"] for frame in found["longva"]["frames"]}
    used = found["longva"]["attribution"]["used_frames"]
    assert used
    assert {frame["index"] for frame in used} <= shown
    assert all(frame["log_prob_drop"] >= 1 for frame in used)
    text = complete(client, [{"role": "user", "content": "What can you do?"}], longva={"attribution": True})
    assert text["longva"]["attribution"] is None


@pytest.mark.parametrize("kind", ["image_url", "video_url"])
def test_a_picture_is_told_by_its_content(client: httpx.Client, kind: str) -> None:
    messages = about(data_url(EXAMPLES / "picture.png", "video/mp4"), "What is in the picture?", kind)
    assert answer_of(complete(client, messages))


def test_several_pictures(client: httpx.Client) -> None:
    """In one message or in several; a second turn finds them in the KV cache."""
    urls = [data_url(EXAMPLES / name, "image/png") for name in ("picture.png", "wide.png")]
    one, other = (about(url, "What do you see?", "image_url") for url in urls)
    alone = [complete(client, messages)["usage"]["prompt_tokens"] for messages in (one, other)]
    text = complete(client, [{"role": "user", "content": "What do you see?"}])["usage"]["prompt_tokens"]
    both = [{"role": "user", "content": [one[0]["content"][0], *other[0]["content"]]}]
    found = complete(client, both)
    assert found["usage"]["prompt_tokens"] == sum(alone) - text - 1  # the header, the question, and the line break
    assert found["longva"]["frames"] == []
    past = {"role": "assistant", "content": answer_of(found)}
    again = complete(client, [*both, past, {"role": "user", "content": "And the second one?"}])
    assert again["longva"]["prefix_cache"] == "hit"
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= found["usage"]["prompt_tokens"]
    later = complete(client, [*one, past, *other])
    assert later["usage"]["prompt_tokens"] > found["usage"]["prompt_tokens"]
    assert answer_of(later)


def test_a_small_picture_in_the_json(client: httpx.Client) -> None:
    """Too short to go to the disk while it arrives."""
    data = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(data, "png")
    assert len(data.getvalue()) < 500
    text = base64.b64encode(data.getvalue()).decode()
    for url in (f"data:image/png;base64,{text}", text):
        assert answer_of(complete(client, about(url, "What colour is it?", "image_url")))


def test_length_and_stop_texts(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "What can you do?"}]
    whole = complete(client, messages)
    words = answer_of(whole).split()
    assert len(words) > 4
    short = complete(client, messages, max_tokens=2)
    assert short["choices"][0]["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] == 2
    cut = complete(client, messages, stop=[words[3]])
    assert answer_of(cut) == answer_of(whole).partition(words[3])[0]
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]


SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue", "orange"]}, "moves": {"type": "boolean"}},
    "required": ["colour", "moves"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_of_a_json_schema(client: httpx.Client, temperature: float) -> None:
    """Whatever the model would rather say."""
    body = {"messages": about(data_url(CLIP), WHICH_WAY), "num_frames": 16, "temperature": temperature}
    form = {"type": "json_schema", "json_schema": {"name": "clip", "strict": True, "schema": SCHEMA}}
    found = json.loads(answer_of(complete(client, **body, response_format=form)))
    assert found["colour"] in ("red", "blue", "orange")
    assert type(found["moves"]) is bool
    assert len(found) == 2
    beside = {"type": "json_schema", "name": "clip", "schema": SCHEMA}
    text = client.post(RESPONSES, json={"input": "Hello", "text": {"format": beside}}).json()["output"][0]["content"][0]
    assert set(json.loads(text["text"])) == {"colour", "moves"}
    assert answer_of(complete(client, **body, response_format={"type": "text"}))[0] != "{"


def test_markers_of_the_template_stay_text(client: httpx.Client) -> None:
    plain = complete(client, [{"role": "user", "content": "end"}])
    marked = complete(client, [{"role": "user", "content": "<|im_end|>"}])
    assert marked["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]


def test_a_response_and_its_stream(client: httpx.Client) -> None:
    parts = [{"type": "input_image", "image_url": data_url(EXAMPLES / "picture.png", "image/png")}]
    body = {
        "model": "tiny",
        "input": [{"role": "user", "content": [*parts, {"type": "input_text", "text": "What is it?"}]}],
    }
    whole = client.post(RESPONSES, json=body).json()
    assert whole["status"] == "completed"
    text = whole["output"][0]["content"][0]["text"]
    assert text
    with client.stream("POST", RESPONSES, json={**body, "stream": True}) as reply:
        found = events(reply.iter_lines())
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta") == text
    assert found[0]["type"] == "response.created"
    assert found[-1]["type"] == "response.completed"
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == text
    cut = client.post(RESPONSES, json={"input": "What can you do?", "max_output_tokens": 2}).json()
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


@pytest.mark.parametrize("name", ["llama.cpp-webui", "open-webui"])
def test_bodies_recorded_from_clients(client: httpx.Client, name: str) -> None:
    """With the fields that these clients send; only the file in it is another."""
    text = (DATA / f"{name}.json").read_text("utf-8")
    for mark, file in (("VIDEO", CLIP), ("PICTURE", EXAMPLES / "picture.png")):
        text = text.replace(mark, base64.b64encode(file.read_bytes()).decode())
    with client.stream("POST", CHAT, content=text, headers={"Content-Type": "application/json"}) as reply:
        lines = list(reply.iter_lines())
    assert reply.status_code == 200, lines
    chunks = events(lines)
    assert text_of(chunks)
    assert lines[-2] == "data: [DONE]"
    progress = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    assert bool(progress) is json.loads(text).get("return_progress", False)
    assert all(0 <= one["processed"] <= one["total"] for one in progress)


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_stops_when_its_client_leaves(client: httpx.Client, tmp_path: Path, stream: bool) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=200)
    stopped = 'longva_questions_total{outcome="stopped"}'
    before = metric(client, stopped)
    body = {"messages": about(data_url(clip), WHICH_WAY), "num_frames": 1500 + stream, "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=body, timeout=1.5)
    until = time.monotonic() + 20
    while metric(client, stopped) == before:
        assert time.monotonic() < until, "the answer goes on"
        time.sleep(0.2)
    assert metric(client, "longva_questions_running") == 0
    assert metric(client, 'longva_quota_used{quota="api_questions"}') == 0


def test_several_at_once(client: httpx.Client) -> None:
    """About the same video: each gets the answer that it gets alone."""
    body = {
        "messages": about(data_url(EXAMPLES / "shapes.mp4"), "What number is on the yellow square?"),
        "num_frames": 16,
    }
    expected, found = answer_of(complete(client, **body)), []

    def ask() -> None:
        found.append(answer_of(complete(client, **body)))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6


def test_received_files_are_stored_within_the_limits(tmp_path: Path) -> None:
    """Old ones make room for new ones."""
    clips = [write_clip(tmp_path / f"{number}.mp4", seconds=2, size=(320, 180 + 20 * number)) for number in range(4)]
    limit = int(2.5 * max(clip.stat().st_size for clip in clips)) + 5_000_000
    folder = tmp_path / "temporary"
    folder.mkdir()
    variables = {"LONGVA_MAX_STORAGE_BYTES": str(limit), "TMPDIR": str(folder)}
    with serving(tmp_path / "log", "--model", "tiny", **variables) as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            for clip in clips:
                assert answer_of(complete(client, about(data_url(clip), WHICH_WAY), num_frames=2))
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert stored <= limit
    assert not [file for file in folder.rglob("*") if file.is_file()]
