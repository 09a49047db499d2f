"""What an evaluation will take, before anything is downloaded: questions, videos, disk, GPU memory and time."""

from collections.abc import Sequence
from dataclasses import dataclass

from huggingface_hub import HfApi

from longva_demo.eval.published import Task
from longva_demo.eval.questions import Question
from longva_demo.model.choice import needed_bytes
from longva_demo.model.config import LongVAConfig
from longva_demo.model.estimate import GPU_EFFICIENCY, PEAK_FLOP, ModelSize

# The GPU of the estimate, with 80 GB, and the speed of its memory.
GPU, GPU_BYTES_PER_SECOND = "A100", 2.0e12
GPU_FLOP = PEAK_FLOP[GPU]
QUESTION_TOKENS, ANSWER_TOKENS = 100, 16
WEIGHT_BYTES = 2  # bf16
MODEL = "lmms-lab/LongVA-7B"  # of the paper's figures
HUB_SECONDS = 10.0
PICTURE_GRIDS = 12  # a page of a document: about 1,000 × 1,300 pixels, as UniRes cuts it


@dataclass(frozen=True)
class Cost:
    """GPU seconds by the cost formula of LongVA-7B. Decoding videos is not counted; it runs on the CPU meanwhile."""

    num_questions: int
    num_prefills: int
    frames: int

    @property
    def seconds(self) -> float:
        """With one prefill per video."""
        return self.num_prefills * self._prefill() + self.num_questions * self._answer()

    @property
    def seconds_without_sharing(self) -> float:
        """With one prefill per question."""
        return self.num_questions * (self._prefill() + self._answer())

    @property
    def memory_bytes(self) -> float:
        """GPU memory in bf16."""
        return needed_bytes("none", self.frames)

    def _prefill(self) -> float:
        return ModelSize.of(LongVAConfig()).prefill_flop(self.frames) / (GPU_FLOP * GPU_EFFICIENCY)

    def _answer(self) -> float:
        """The question's tokens, and an answer of a few tokens that each read all weights."""
        size = ModelSize.of(LongVAConfig())
        weights = size.layer_weights + size.head_weights
        flop = 2 * size.layer_weights * QUESTION_TOKENS
        return flop / (GPU_FLOP * GPU_EFFICIENCY) + ANSWER_TOKENS * weights * WEIGHT_BYTES / GPU_BYTES_PER_SECOND

    def lines(self) -> list[str]:
        full, quantised = self.memory_bytes / 1e9, needed_bytes("4bit", self.frames) / 1e9
        assumed = f"{GPU_EFFICIENCY:.0%} of an {GPU}'s {GPU_FLOP / 1e12:.0f} TFLOP/s"
        return [
            f"GPU time of LongVA-7B: about {hours(self.seconds)}, by its cost formula at {assumed}; not measured",
            f"  (one prefill per question would take {hours(self.seconds_without_sharing)}; decoding is extra)",
            f"GPU memory: {full:.1f} GB in bf16, {quantised:.1f} GB in 4-bit",
        ]


def hours(seconds: float) -> str:
    """A duration as a person plans with it.

    >>> hours(5400), hours(600), hours(20)
    ('1.5 h', '10 min', '20 s')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def plan_task(task: Task, frames: int | None, limit: int | None) -> list[str]:
    """The plan of a benchmark, one line each. Asks the Hub for the size of the dataset, if it can be reached."""
    command = f"longva-demo eval {task.name} --model {MODEL}"
    lines = [f"{task.title}: {count_line(task, limit)}"]
    lines.append(
        "pictures, cut into up to 49 grids each (UniRes)" if frames is None else f"{frames:,} frames per video"
    )
    lines.append(disk_line(task))
    if task.questions is not None:
        lines += task_cost(task, frames, limit).lines()
        if task.videos is None and frames is not None:
            lines.append("  (an upper bound: how many questions share a video is not known here)")
    return [*lines, f"command: {command}"]


def task_cost(task: Task, frames: int | None, limit: int | None = None) -> Cost:
    """The cost of a benchmark of a known number of questions."""
    assert task.questions is not None
    questions = min(limit or task.questions, task.questions)
    share = (task.videos or task.questions) / task.questions  # of questions that are the first about their video
    return Cost(questions, max(1, round(questions * share)), PICTURE_GRIDS if frames is None else frames)


def count_line(task: Task, limit: int | None) -> str:
    if task.questions is None:
        return f"the number of questions is on its dataset card (huggingface.co/datasets/{task.dataset})"
    videos = f" about {task.videos:,} videos" if task.videos else ""
    first = f", of which the first {limit:,}" if limit is not None and limit < task.questions else ""
    return f"{task.questions:,} questions{videos} ({task.source or 'its dataset card'}){first}"


def disk_line(task: Task) -> str:
    size = dataset_bytes(task.dataset)
    place = f"huggingface.co/datasets/{task.dataset}"
    if size is None:
        return f"disk: unknown, as the Hub cannot be asked for the size of {place}"
    return f"disk: a download of {size / 1e9:.1f} GB, and as much again while lmms-eval unpacks it ({place})"


def dataset_bytes(dataset: str) -> int | None:
    """The size of a dataset on the Hub; None if it is unknown, for whatever reason."""
    try:
        info = HfApi().dataset_info(dataset, files_metadata=True, timeout=HUB_SECONDS)
    except Exception:  # offline, gated, renamed, or an error of the transport
        return None
    return sum(file.size or 0 for file in info.siblings or ())


def plan_questions(questions: Sequence[Question], frames: int) -> list[str]:
    """The plan of a person's own questions."""
    parts, videos = {question.part for question in questions}, {question.video for question in questions}
    prefills = f"{len(parts):,} prefills of up to {frames:,} frames"
    return [
        f"{len(questions):,} questions about {len(videos):,} videos, {prefills}",
        *Cost(len(questions), len(parts), frames).lines(),
    ]
