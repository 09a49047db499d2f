"""The model `longva_demo` of lmms-eval: this project's model, frames and prefix cache under its tasks.

Importing this needs the extra [eval].
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from lmms_eval.api.model import lmms
from PIL import Image
from tqdm import tqdm

from longva_demo.chat import Sampling, open_engine
from longva_demo.chat.sampling import MAX_NEW_TOKENS
from longva_demo.errors import DemoError, one_line
from longva_demo.eval.answers import Answer, Answers, Item, answer_items
from longva_demo.eval.asking import FrameSampling, Media, Picture
from longva_demo.eval.command import model_facts
from longva_demo.eval.published import FRAMES
from longva_demo.settings import Settings
from longva_demo.video import DecodeLimits

DEFAULT_MODEL = "lmms-lab/LongVA-7B"  # of the paper's figures


class LongVADemo(lmms):
    """Answers requests of type generate_until.

    A file that cannot be read gives an error in `answers-RANK.jsonl` and an empty answer here; `longva-demo eval`
    leaves it out of the score.
    """

    is_simple = False  # lmms-eval: requests carry chat messages

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        frames: int = FRAMES,
        out: str = "eval-lmms",
        quant: str = "auto",
        device: str | None = None,
        dtype: str = "auto",
        attention: str = "auto",
        decoder: str = "pyav",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ) -> None:
        """`batch_size` has to be 1: questions share a prefill instead."""
        super().__init__()
        if str(batch_size) != "1" or max_batch_size not in (None, 1):
            raise DemoError(f"the batch size is {batch_size}", "leave it out; questions share a prefill instead")
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        if self._world_size > 1 and device in (None, "auto", "cuda"):
            device = str(self.accelerator.device)
        settings = Settings.from_environment(
            model=model, quant=quant, device=device or "auto", dtype=dtype, attention=attention, decoder=decoder
        )
        self.engine = open_engine(settings)
        self.frames = FrameSampling(frames, decoder, DecodeLimits.from_settings(settings))
        self.head = {
            "test": "lmms-eval",
            **model_facts(self.engine),
            **self.frames.facts(),
            "lmms_eval": version("lmms_eval"),
            "extractor": "that of the task in lmms-eval",
        }
        self.out = Path(out)
        self.answers = Answers(self.out, self.head, self._rank)
        self.accelerator.wait_for_everyone()  # nobody writes before everybody has read

    @property
    def device(self) -> Any:
        """Where the evaluator of lmms-eval gathers results of several processes."""
        return self.accelerator.device

    def all_answers(self) -> list[Answer]:
        """Those of all processes so far."""
        return Answers(self.out, self.head, self._rank).all()

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers to `requests`, in their order."""
        items = [self._item(request) for request in requests]
        found: dict[tuple[str, str, str], Answer] = {}
        with tqdm(total=len(items), desc="longva_demo", unit="question", disable=self._rank != 0) as bar:
            for event in answer_items(self.engine, self.frames, items, self.answers):
                if isinstance(event, Answer):
                    found[event.key] = event
                    bar.update()
        return [found[item.key].answer for item in items]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        raise NotImplementedError("longva_demo answers in text; use a task with output_type generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        raise NotImplementedError("longva_demo has no tasks of several rounds")

    def _item(self, request: Any) -> Item:
        _, doc_to_messages, generation, doc_id, task, split = request.args
        key = (str(task), str(split), str(doc_id))
        sampling = make_sampling(generation)

        def messages() -> list[dict[str, Any]]:
            return doc_to_messages(self.task_dict[task][split][doc_id])

        try:
            prompt, media = read_messages(messages())
        except (
            SystemExit,
            AssertionError,
            OSError,
            DemoError,
        ) as error:  # tasks exit, or assert, if a video is missing
            what = one_line(str(error)) or f"the task raised {type(error).__name__}, as for a missing video"
            return Item(key, "", sampling, "", lambda: None, error=what)
        if isinstance(media, Path | None):
            return Item(key, prompt, sampling, str(media or ""), lambda: media)
        return Item(key, prompt, sampling, "", lambda: read_messages(messages())[1])


def read_messages(messages: Sequence[dict[str, Any]]) -> tuple[str, Media]:
    """The prompt of chat messages, and what it is about.

    The model is given pictures before the text. The places of several are named in it, as MMMU does: <image 1>.

    Raises:
        DemoError: there is more than one question, or more than one video.
    """
    contents = [content for message in messages if message["role"] == "user" for content in message["content"]]
    if any(message["role"] == "assistant" for message in messages):
        raise DemoError("the question has examples with answers", "use --num_fewshot 0")
    visuals = [content for content in contents if content["type"] != "text"]
    if len(visuals) > 1 and any(visual["type"] != "image" for visual in visuals):
        raise DemoError(f"the question has {len(visuals)} videos or pictures", "only one video is supported")
    media = tuple(map(to_media, visuals))
    if len(media) > 1:
        return "\n".join(named(contents)), media
    return "\n".join(content["text"] for content in contents if content["type"] == "text"), media[0] if media else None


def named(contents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The texts, and the places of the pictures among them."""
    number = 0
    for content in contents:
        number += content["type"] == "image"
        yield content["text"] if content["type"] == "text" else f"<image {number}>"


def to_media(visual: dict[str, Any]) -> Picture:
    value = visual["url"]
    if visual["type"] == "image" and isinstance(value, Image.Image):
        return value
    if visual["type"] in ("image", "video") and isinstance(value, str):
        return Path(value)
    raise DemoError(f"the question has a {visual['type']} as {type(value).__name__}", "use a file or a picture")


def make_sampling(generation: dict[str, Any]) -> Sampling:
    """The sampling that a task asks for. Its stop texts are not used, as in the published runs."""
    if generation.get("num_beams", 1) not in (None, 1):
        raise DemoError(f"the task asks for {generation['num_beams']} beams", "set num_beams=1 with --gen_kwargs")
    sampled = generation.get("do_sample", True) and (generation.get("temperature") or 0) > 0
    return Sampling(
        temperature=float(generation["temperature"]) if sampled else 0.0,
        top_p=float(generation.get("top_p") or 1.0) if sampled else 1.0,
        max_new_tokens=min(int(generation.get("max_new_tokens") or 256), MAX_NEW_TOKENS),
    )
