"""`python -m longva_demo serve | ask | frames | niah | replay | doctor`, also installed as `longva-demo`."""

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

# Nothing is sent anywhere unless a model must be downloaded; these are read when the libraries are imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from longva_demo.cli.terminal import accept_all_letters, say
from longva_demo.errors import DemoError, one_line
from longva_demo.settings import CHOICES
from longva_demo.times import parse_time

EPILOG = """examples:
  longva-demo serve                                     open http://127.0.0.1:7860 in a browser
  longva-demo ask clip.mp4 "What happens in the video?" --frames 64
  longva-demo ask clip.mp4 "And here?" --start 1:20 --end 1:40 --json
  longva-demo frames clip.mp4 --frames 16 --sheet frames.jpg
  longva-demo replay chat.json clip.mp4                 ask a saved chat again: are the answers the same?
  longva-demo niah film.mp4                             the needle test: is one picture found among 3,000 frames?
  longva-demo doctor                                    what this machine has, and which model would be chosen

Every flag of `serve` and `ask` can also be set in the environment: LONGVA_MODEL, LONGVA_QUANT, LONGVA_PORT ..."""


class Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, one_line(f"{self.prog}: {message}; see {self.prog} --help") + "\n")


def time_argument(text: str) -> float:
    try:
        return parse_time(text)
    except DemoError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="longva-demo",
        description="Ask questions about videos with LongVA, and see which frames it was given.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|ask|frames|niah|replay|doctor")
    serve = commands.add_parser("serve", help="serve the page")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1: this computer only)")
    serve.add_argument("--port", type=int, help="port (default 7860)")
    serve.add_argument("--log", choices=CHOICES["log"], help="a line for each event (default), with texts, or nothing")
    add_model_flags(serve)

    ask = commands.add_parser("ask", help="answer one question about a video or picture")
    ask.add_argument("video", help="a video or picture file")
    ask.add_argument("question", help="what you want to know, in quotes")
    add_frame_flags(ask)
    add_model_flags(ask)
    ask.add_argument("--temperature", type=float, default=0.0, help="0 (default) takes the likeliest word each time")
    ask.add_argument("--top-p", type=float, default=1.0, help="sample among the likeliest words of this total share")
    ask.add_argument("--max-new-tokens", type=int, help="longest answer, in tokens (default 256)")

    frames = commands.add_parser("frames", help="show which frames would be sampled, without a model")
    frames.add_argument("video", help="a video file")
    add_frame_flags(frames)
    frames.add_argument("--sheet", metavar="OUT.jpg", help="write the frames with their times as one picture")

    niah = commands.add_parser("niah", help="V-NIAH: is a picture found among thousands of frames?")
    niah.add_argument("video", nargs="?", help="the haystack; without one, frames are drawn for the built-in model")
    niah.add_argument("--needles", help="drawn, a folder, or a Hub dataset (default: drawn for tiny, else published)")
    niah.add_argument("--num-needles", type=int, default=5, metavar="N", help="how many of them (default 5)")
    niah.add_argument(
        "--frames", dest="sizes", default="200:3000:200", metavar="A:B:STEP", help="haystack sizes (as published)"
    )
    niah.add_argument("--depths", default="0:1:0.2", metavar="A:B:STEP", help="0 is the first place, 1 the last")
    niah.add_argument("--spacing", default="second", help="one frame a second (default), or budget: evenly over all")
    niah.add_argument("--seed", type=int, default=0, help="of the drawn haystack")
    niah.add_argument("--out", default="niah", metavar="FOLDER", help="results and heat map; a stopped run goes on")
    niah.add_argument("--no-attribution", action="store_true", help="do not look which frame an answer drew on")
    niah.add_argument("--json", action="store_true", help="print one JSON object")
    add_model_flags(niah)

    replay = commands.add_parser("replay", help="ask the questions of a saved chat again, and compare the answers")
    replay.add_argument("record", metavar="chat.json", help='a chat that the page saved ("Save as JSON")')
    replay.add_argument("video", nargs="?", help="the video or picture that it is about; none for a chat without one")
    add_model_flags(replay, default="the record's")
    replay.add_argument("--json", action="store_true", help="print one JSON object")

    doctor = commands.add_parser("doctor", help="what this machine has, and which model would be chosen")
    doctor.add_argument("--host", help="of a server to ask how it is (default 127.0.0.1)")
    doctor.add_argument("--port", type=int, help="its port (default 7860)")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def add_frame_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=int, metavar="N", help="how many frames to sample (default 32)")
    parser.add_argument("--start", type=time_argument, default=0.0, metavar="TIME", help="sample from here on")
    parser.add_argument("--end", type=time_argument, metavar="TIME", help="sample up to here (default: the end)")
    parser.add_argument("--decoder", choices=CHOICES["decoder"], help="pyav (exact, default) or decord")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_model_flags(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    parser.add_argument("--model", metavar="ID", help=f"auto, tiny, a folder, or a hub id (default: {default})")
    parser.add_argument("--quant", choices=CHOICES["quant"], help="4bit needs a third of the memory")
    parser.add_argument("--device", help="auto (default), cuda or cpu")
    parser.add_argument("--dtype", choices=CHOICES["dtype"])
    parser.add_argument("--attention", choices=CHOICES["attention"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or 2 after a bad input, with one line on standard error."""
    accept_all_letters()
    options = build_parser().parse_args(arguments)
    # Imported late: --help and a mistyped flag answer at once.
    from longva_demo.cli import commands

    run = {
        "serve": commands.serve,
        "ask": commands.ask,
        "frames": commands.frames,
        "niah": commands.niah,
        "replay": commands.replay,
        "doctor": commands.doctor,
    }
    try:
        run[options.command](options)
    except DemoError as error:
        say(f"longva-demo: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
