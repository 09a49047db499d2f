"""The published figures of LongVA, and the benchmarks of lmms-eval that check them. Data only."""

from dataclasses import dataclass
from typing import TypedDict

PAPER = "arXiv 2406.16852"
TPO = "arXiv 2501.13919"
REKV = "arXiv 2503.00540"
VIDEO_XL = "arXiv 2409.14485"
LLAVA_VIDEO = "arXiv 2410.02713"
STREAMING_BENCH = "streamingbench.github.io"
# Not counted here: as runs of lmms-eval that others published count them.
ROWS = "rows of the dataset in published runs"

PAID = "scored by a paid model"
NEEDLES = "`longva-demo niah film.mp4 --model lmms-lab/LongVA-7B`"

LONGVA, DPO, LONGVA_TPO = "LongVA-7B", "LongVA-7B-DPO", "LongVA-7B-TPO"
FRAMES = 128  # of videos, where nothing else is published


@dataclass(frozen=True)
class Task:
    """A benchmark as lmms-eval knows it.

    frames: the published budget, which is the default; None for pictures, which are cut into grids (UniRes).
    questions, videos: how many there are, by `source`; None where it was not found.
    metric: the one of the task's metrics that figures are published of, if it has several.
    scale: from the metric to the published figures.
    part_field: the field of a question by which figures of parts are published.
    """

    name: str
    title: str
    dataset: str  # on the Hugging Face Hub
    frames: int | None = FRAMES
    questions: int | None = None
    videos: int | None = None
    source: str = ""
    metric: str = ""
    scale: float = 1.0
    part_field: str = ""


class Count(TypedDict):
    """How many questions and videos a benchmark has, and what it calls its parts."""

    questions: int
    videos: int
    source: str
    part_field: str


VIDEO_MME: Count = {"questions": 2700, "videos": 900, "source": "arXiv 2405.21075", "part_field": "duration"}


def picture_task(name: str, title: str, dataset: str, questions: int, metric: str) -> Task:
    """A benchmark of single pictures, with a metric between 0 and 1."""
    return Task(name, title, f"lmms-lab-encoder/{dataset}", None, questions, source=ROWS, metric=metric, scale=100)


@dataclass(frozen=True)
class Figure:
    """A published figure in per cent, or on the benchmark's own scale.

    task: the name of the task of lmms-eval that checks it; "" if there is none.
    check: what checks it instead, or why nothing does.
    part: a part of the benchmark that the figure is about; "" for all of it.
    frames: None where it was not published.
    """

    title: str
    model: str
    value: float
    source: str
    task: str = ""
    frames: int | None = None
    part: str = ""
    note: str = ""
    check: str = ""


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("videomme", "Video-MME", "lmms-eval/Video-MME", 128, **VIDEO_MME),
        Task("videomme_w_subtitle", "Video-MME with subtitles", "lmms-eval/Video-MME", 96, **VIDEO_MME),
        Task("videomme_no_visual", "Video-MME without the video", "lmms-eval/Video-MME", 128, **VIDEO_MME),
        Task("mlvu_dev", "MLVU dev", "sy1998/MLVU_dev", questions=2174, source=ROWS),
        Task("mlvu_test", "MLVU test", "sy1998/MLVU_Test", questions=502, source=ROWS),
        Task(
            "longvideobench_val_v",
            "LongVideoBench val",
            "longvideobench/LongVideoBench",
            questions=1337,
            source=ROWS,
            scale=100,
        ),
        Task("egoschema_subset", "EgoSchema, subset", "lmms-eval/egoschema", 32, 500, 500, ROWS, scale=100),
        Task("lvbench", "LVBench", "lmms-eval/LVBench", questions=1549, videos=103, source="arXiv 2406.08035"),
        Task("timescope", "TimeScope", "Apollo-LMMs/TimeScope"),
        Task("longtimescope", "LongTimeScope", "Apollo-LMMs/LongTimeScope2"),
        Task(
            "temporal_grounding_charades",
            "Charades-STA",
            "lmms-eval/charades_sta",
            questions=3720,
            source=ROWS,
            metric="charades_sta_mIOU",
        ),
        Task(
            "nextqa_mc_test",
            "NExT-QA, multiple choice",
            "lmms-eval/NExTQA",
            questions=8564,
            source=ROWS,
            scale=100,
        ),
        picture_task("ai2d", "AI2D", "ai2d", 3088, "exact_match"),
        picture_task("chartqa", "ChartQA", "ChartQA", 2500, "relaxed_overall"),
        picture_task("docvqa_val", "DocVQA val", "DocVQA", 5349, "anls"),
        picture_task("infovqa_val", "InfoVQA val", "DocVQA", 2801, "anls"),
        picture_task("realworldqa", "RealWorldQA", "RealWorldQA", 765, "exact_match"),
        picture_task("mmmu_val", "MMMU val", "MMMU", 900, "mmmu_acc"),
    )
}


def video_mme() -> tuple[Figure, ...]:
    by_frames = {8: 47.9, 16: 49.7, 32: 51.8, 64: 52.4, 128: 52.6, 384: 51.8}
    parts = {"short": 61.1, "medium": 50.4, "long": 46.2}
    subtitled = {"short": 61.6, "medium": 53.6, "long": 47.6}
    return (
        *(Figure("Video-MME", LONGVA, value, PAPER, "videomme", frames) for frames, value in by_frames.items()),
        *(Figure("Video-MME", LONGVA, value, PAPER, "videomme", 128, part) for part, value in parts.items()),
        *(
            Figure("Video-MME", model, value, TPO, "videomme", note="as TPO's authors measured")
            for model, value in ((LONGVA, 52.6), (DPO, 53.6), (LONGVA_TPO, 55.1))
        ),
        Figure("Video-MME with subtitles", LONGVA, 54.3, PAPER, "videomme_w_subtitle", 96),
        *(
            Figure("Video-MME with subtitles", LONGVA, value, PAPER, "videomme_w_subtitle", 96, part)
            for part, value in subtitled.items()
        ),
        Figure("Video-MME with subtitles", DPO, 55.6, TPO, "videomme_w_subtitle"),
        Figure("Video-MME with subtitles", LONGVA_TPO, 56.6, TPO, "videomme_w_subtitle"),
    )


FIGURES: tuple[Figure, ...] = (
    *video_mme(),
    Figure("MLVU dev", LONGVA, 56.3, PAPER, "mlvu_dev", note="128 to 256 frames"),
    Figure("MLVU dev", LONGVA, 58.8, TPO, "mlvu_dev", note="as TPO's authors measured"),
    Figure("MLVU dev", DPO, 59.1, TPO, "mlvu_dev"),
    Figure("MLVU dev", LONGVA_TPO, 61.7, TPO, "mlvu_dev"),
    Figure("LongVideoBench val", LONGVA, 51.3, TPO, "longvideobench_val_v"),
    Figure("LongVideoBench val", LONGVA, 47.8, VIDEO_XL, "longvideobench_val_v"),
    Figure("LongVideoBench val", DPO, 52.8, TPO, "longvideobench_val_v"),
    Figure("LongVideoBench val", LONGVA_TPO, 54.2, TPO, "longvideobench_val_v"),
    Figure("EgoSchema", LONGVA, 42.5, REKV, "egoschema_subset", 32),
    Figure("NExT-QA, multiple choice", LONGVA, 68.3, LLAVA_VIDEO, "nextqa_mc_test"),
    Figure("ActivityNet-QA", LONGVA, 50.0, LLAVA_VIDEO, check=PAID),
    Figure("VideoChatGPT", LONGVA, 3.20, LLAVA_VIDEO, note="score of 0 to 5", check=PAID),
    Figure("VideoDC", LONGVA, 3.14, LLAVA_VIDEO, note="score of 0 to 5", check=PAID),
    Figure("VNBench", LONGVA, 41.5, VIDEO_XL, check="not in lmms-eval 0.7.3"),
    Figure("StreamingBench", LONGVA, 48.7, STREAMING_BENCH, frames=128, check="not in lmms-eval 0.7.3"),
    Figure("V-NIAH, 200 to 3,000 frames", LONGVA, 90.9, PAPER, check=NEEDLES),
    Figure("V-NIAH, 200 to 2,000 frames", LONGVA, 97.3, PAPER, check=NEEDLES),
    Figure("V-NIAH, 2,400 to 3,000 frames", LONGVA, 67.0, PAPER, note="67 to 80 per size", check=NEEDLES),
    Figure("AI2D", LONGVA, 70.7, PAPER, "ai2d"),
    Figure("ChartQA", LONGVA, 70.4, PAPER, "chartqa"),
    Figure("DocVQA", LONGVA, 80.8, PAPER, "docvqa_val"),
    Figure("InfoVQA", LONGVA, 49.4, PAPER, "infovqa_val"),
    Figure("RealWorldQA", LONGVA, 60.0, PAPER, "realworldqa"),
    Figure("MMMU", LONGVA, 42.6, PAPER, "mmmu_val"),
)


def figures_of(task: str) -> list[Figure]:
    """The published figures that a task checks."""
    return [figure for figure in FIGURES if figure.task == task]
