"""`python -m longva_demo serve | ask | frames | words | find | …`, also installed as `longva-demo`."""

import os
import sys
from collections.abc import Sequence

# Turn off telemetry before the libraries are imported: they read these variables once.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from longva_demo.cli.parser import COMPARE, build_parser, join_commands
from longva_demo.cli.terminal import replace_unprintable, say
from longva_demo.errors import DemoError

IS_POSIX = os.name == "posix"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or 2 after a bad input, with one line on standard error."""
    replace_unprintable()
    if not IS_POSIX:
        say("longva-demo: Windows is not supported; use Linux, macOS, a container or WSL")
        return 2
    options = build_parser().parse_args(join_commands(sys.argv[1:] if arguments is None else arguments))
    # Imported late so that --help and a mistyped flag answer at once.
    from longva_demo.cli import commands, evaluate, moments, niah, words

    run = {
        "serve": commands.serve,
        "ask": commands.ask,
        "frames": commands.frames,
        "words": words.words,
        "find": moments.find,
        "chapters": moments.chapters,
        "niah": niah.niah,
        COMPARE: niah.compare,
        "eval": evaluate.evaluate,
        "replay": commands.replay,
        "export": commands.export,
        "mcp": commands.mcp,
        "capacity": commands.capacity,
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
