"""The commands' flags."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from longva_demo.errors import DemoError, one_line
from longva_demo.settings import SETTINGS, flag_of
from longva_demo.times import parse_time

COMPARE = "niah compare"
MODEL_SETTINGS = ("model", "quant", "device", "dtype", "attention", "engine")
EPILOG = """examples:
  longva-demo serve                                     then open http://127.0.0.1:7860 in a browser
  longva-demo ask clip.mp4 "What happens in the video?" --frames 64
  longva-demo ask clip.mp4 "And here?" --start 1:20 --end 1:40 --json
  longva-demo frames clip.mp4 --frames 16 --sheet frames.jpg
  longva-demo words clip.mp4 --search "red car"         what is said and written, with times
  longva-demo find clip.mp4 "a red star"                when a video shows something
  longva-demo chapters clip.mp4 --format md              its scenes, with one line about each
  longva-demo replay chat.json clip.mp4                 ask the questions of a saved chat again
  longva-demo niah film.mp4                             needle-in-a-haystack test with up to 3,000 frames
  longva-demo niah compare niah-bf16 niah-4bit          two of its runs side by side
  longva-demo eval questions.jsonl                      your own questions, scored (docs/evaluation.md)
  longva-demo eval videomme --plan                      what a published benchmark takes
  longva-demo export tiny my-longva                     for plain transformers, with trust_remote_code=True
  longva-demo mcp                                       tools for an agent; docs/mcp.md has its configuration
  longva-demo capacity --frames 1000 --gpus 4           how many people these GPUs can serve
  longva-demo doctor                                    show the hardware and the model that auto would choose

Settings can also come from the environment: LONGVA_MODEL, LONGVA_QUANT, LONGVA_PORT, ... Flags take precedence.
docs/configuration.md lists them all."""


class Parser(argparse.ArgumentParser):
    """Prints an error as one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, one_line(f"{self.prog}: {message}; see {self.prog} --help") + "\n")


def time_argument(text: str) -> float:
    try:
        return parse_time(text)
    except DemoError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def file_argument(text: str) -> str:
    """An unset variable of the shell gives an empty name, which would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the file name is empty")
    return text


def count_argument(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid number; use a whole number above 0")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="longva-demo",
        description="Ask questions about videos with LongVA, and see which frames the model was given.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="serve|ask|frames|words|find|chapters|niah|eval|replay|export|capacity|mcp|doctor",
    )
    serve = commands.add_parser("serve", help="serve the page")
    add_settings(
        serve,
        "host",
        "port",
        "root_path",
        "trusted_proxies",
        "log",
        "openai_api",
        "mcp",
        *MODEL_SETTINGS,
        "speech_model",
    )

    ask = commands.add_parser("ask", help="answer one question about a video or picture")
    ask.add_argument("video", type=file_argument, help="a video or picture file")
    ask.add_argument("question", help="the question, in quotes")
    add_frame_flags(ask)
    add_settings(ask, *MODEL_SETTINGS)
    ask.add_argument(
        "--number-frames",
        action="store_true",
        help="draw each frame's number on it (NumPro), so that the model can name frames; for questions about when",
    )
    ask.add_argument(
        "--words",
        metavar="auto|none|FILE",
        default="auto",
        help="give the model fitting lines of the video's subtitles (auto, the default), of a subtitle file, or of the "
        "output of words --json",
    )
    ask.add_argument("--temperature", type=float, default=0.0, help="0 (default) always takes the most likely token")
    ask.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        help="sample from the likeliest tokens that together reach this probability",
    )
    add_settings(ask, "max_new_tokens")
    add_json_flag(ask)

    frames = commands.add_parser("frames", help="show which frames would be sampled; needs no model")
    frames.add_argument("video", type=file_argument, help="a video file")
    add_frame_flags(frames)
    frames.add_argument("--sheet", metavar="OUT.jpg", help="write the frames with their times as one picture")
    add_json_flag(frames)

    add_words_flags(commands.add_parser("words", help="list what is said and written, with times"))
    add_find_flags(commands.add_parser("find", help="find when a video shows something"))
    add_chapters_flags(commands.add_parser("chapters", help="list the scenes of a video with one line about each"))

    add_niah_flags(commands.add_parser("niah", help="V-NIAH: find one picture among thousands of frames"))
    add_compare_flags(commands.add_parser(COMPARE, help="two runs of niah side by side"))

    add_eval_flags(commands.add_parser("eval", help="score your own questions, or run a published benchmark"))

    replay = commands.add_parser("replay", help="ask the questions of a saved chat again and compare the answers")
    replay.add_argument("record", metavar="chat.json", help='a chat saved on the page with "Save as JSON"')
    replay.add_argument(
        "video",
        nargs="?",
        type=file_argument,
        help="the video or picture of the chat; leave out for a chat without one",
    )
    add_settings(replay, "model", "quant", "dtype", default="that of the saved chat")
    add_settings(replay, "device", "attention", "engine")
    add_json_flag(replay)

    export = commands.add_parser("export", help="write a model that plain transformers loads, without this package")
    export.add_argument("model", help="a Hub name, a folder, or tiny")
    export.add_argument("folder", help="a new folder; weights are linked into it where the disk allows it")

    capacity = commands.add_parser("capacity", help="calculate how many people a number of GPUs can serve")
    capacity.add_argument("--frames", type=count_argument, default=1000, metavar="N", help="per video (default: 1000)")
    capacity.add_argument("--gpus", type=count_argument, default=1, metavar="N", help="H200s (default: 1)")
    capacity.add_argument("--users", type=count_argument, default=1, metavar="N", help="at a time (default: 1)")
    add_json_flag(capacity)

    mcp = commands.add_parser("mcp", help="serve tools for an agent over standard input and output (MCP)")
    add_settings(mcp, "num_frames", "max_new_tokens", *MODEL_SETTINGS)

    doctor = commands.add_parser("doctor", help="show the hardware and the model that auto would choose")
    doctor.add_argument("--host", help=f"address of a running server to query (default: {SETTINGS['host'].default})")
    doctor.add_argument("--port", type=int, help=f"its port (default: {SETTINGS['port'].default})")
    add_settings(doctor, "engine")
    add_json_flag(doctor)
    return parser


def add_words_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=file_argument, help="a video file")
    parser.add_argument(
        "--sources",
        metavar="LIST",
        help="of subtitles, speech and screen, separated by commas (default: all whose packages are installed)",
    )
    parser.add_argument(
        "--subtitles", metavar="FILE", help="subtitles to use instead of the video's own, or of a file beside it"
    )
    parser.add_argument("--search", metavar="TEXT", help="print only the lines that match these words")
    parser.add_argument(
        "--frames",
        dest="searched_frames",
        type=int,
        default=64,
        metavar="N",
        help="number of frames that are searched for text (default: 64)",
    )
    add_range_flags(parser)
    add_settings(parser, "speech_model")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON list")
    output.add_argument("--format", choices=("srt", "vtt", "txt"), help="print a file of this format")


def add_find_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=file_argument, help="a video file")
    parser.add_argument(
        "query", help='what to look for, in quotes: "a red star"; or a question with the answer yes or no'
    )
    parser.add_argument(
        "--frames",
        dest="num_frames",
        type=int,
        metavar="N",
        help="number of frames to sample; as many again for the edges (default: 256, or on a slow processor fewer)",
    )
    add_range_flags(parser)
    parser.add_argument(
        "--precision",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="how well the ends of a range should be known (default: 1)",
    )
    parser.add_argument(
        "--window",
        type=int,
        default=1,
        metavar="N",
        help="number of consecutive samples to show at a time, for what moves (default: 1)",
    )
    add_settings(parser, *MODEL_SETTINGS)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--format", choices=("csv", "vtt"), help="print the ranges as CSV or as WebVTT chapters")


def add_chapters_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=file_argument, help="a video file")
    parser.add_argument(
        "--frames",
        dest="num_frames",
        type=int,
        metavar="N",
        help="number of frames to sample; scenes shorter than the time between two may be missed (default: 512)",
    )
    add_range_flags(parser)
    parser.add_argument(
        "--words",
        metavar="auto|none|FILE",
        default="auto",
        help="what is said and written, for the titles: the video's subtitles (auto, the default), a subtitle file, or "
        "the output of words --json",
    )
    add_settings(parser, *MODEL_SETTINGS)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print a JSON list")
    output.add_argument("--format", choices=("vtt", "md"), help="print WebVTT chapters or a Markdown list")


def add_niah_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "video",
        nargs="?",
        type=file_argument,
        help="the haystack; without one, frames are drawn for the built-in model",
    )
    parser.add_argument("--needles", help="drawn, a folder, or a Hub dataset (default: drawn for tiny, else published)")
    parser.add_argument("--num-needles", type=int, default=5, metavar="N", help="number of needles (default: 5)")
    parser.add_argument(
        "--frames",
        dest="sizes",
        default="200:3000:200",
        metavar="A:B:STEP",
        help="haystack sizes, in frames (default: 200:3000:200, as published)",
    )
    parser.add_argument(
        "--depths", default="0:1:0.2", metavar="A:B:STEP", help="0 is the first frame, 1 the last (default: 0:1:0.2)"
    )
    parser.add_argument(
        "--spacing", default="second", help="second (default): one frame per second; budget: evenly over the video"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawn haystack (default: 0)")
    parser.add_argument(
        "--out", default="niah", metavar="FOLDER", help="results and heat map; a stopped run resumes (default: niah)"
    )
    parser.add_argument("--no-attribution", action="store_true", help="skip the attribution of the answers")
    parser.add_argument("--plan", action="store_true", help="print what LongVA-7B would need for this grid, and stop")
    add_task_flags(parser.add_mutually_exclusive_group())
    add_settings(parser, *MODEL_SETTINGS)
    add_json_flag(parser)


def add_task_flags(group: argparse._MutuallyExclusiveGroup) -> None:
    """The successors of V-NIAH. docs/niah.md names their sources."""
    group.add_argument(
        "--distractors",
        type=int,
        metavar="N",
        help="V-NIAH-D: also hide N near misses, 200, 400, ... frames from the needle (published: 1)",
    )
    group.add_argument(
        "--several", type=int, metavar="N", help="V-RULER: hide N needles; all must be found (published: 3 or 4)"
    )
    group.add_argument("--count", action="store_true", help="V-RULER: how many needles are hidden")
    group.add_argument("--order", action="store_true", help="V-RULER: in which order needles appear")
    group.add_argument("--clips", action="store_true", help="TimeScope: needles are clips of 5 to 10 seconds")
    group.add_argument("--lines", action="store_true", help="VNBench: the needle is one line among subtitles")


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN", help="the --out of a run")
    parser.add_argument("second", metavar="RUN", help="the --out of another run of the same test")
    parser.add_argument(
        "--out", default="niah-compare", metavar="FOLDER", help="heat maps and their difference (default: niah-compare)"
    )
    add_json_flag(parser)


def join_commands(arguments: Sequence[str]) -> list[str]:
    """Make the two words of `niah compare` one, as argparse has one word per command."""
    words = COMPARE.split()
    return [COMPARE, *arguments[len(words) :]] if list(arguments[: len(words)]) == words else list(arguments)


def add_eval_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="questions.jsonl|TASK",
        help="your own questions, or a benchmark such as videomme",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    parser.add_argument("--out", metavar="FOLDER", help="results; a stopped run resumes (default: eval-NAME)")
    parser.add_argument("--plan", action="store_true", help="print what it takes, and stop; loads no model")
    parser.add_argument("--no-attribution", action="store_true", help="do not look for the frames of each answer")
    add_settings(parser, "num_frames", default="as published; 128 for your own questions")
    add_settings(parser, "decoder", *MODEL_SETTINGS)
    add_json_flag(parser)


def add_frame_flags(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, "num_frames")
    add_range_flags(parser)
    add_settings(parser, "decoder")


def add_range_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start", type=time_argument, default=0.0, metavar="TIME", help="start of the range (default: 0)"
    )
    parser.add_argument("--end", type=time_argument, metavar="TIME", help="end of the range (default: the end)")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_settings(parser: argparse.ArgumentParser, *names: str, default: str = "") -> None:
    """Add a flag for each of these settings. A flag that is left out is None, so that the environment can set it."""
    for name in names:
        one = SETTINGS[name]
        parser.add_argument(
            flag_of(one),
            dest=name,
            type=type(one.default),
            choices=one.metadata["choices"] or None,
            metavar=one.metadata["metavar"] or None,
            help=f"{one.metadata['help']} (default: {default or one.default})".replace("%", "%%"),
        )
