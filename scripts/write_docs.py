"""Write the generated pages: docs/cli.md from --help, docs/configuration.md from the fields of `Settings`, and the
table of published figures in docs/evaluation.md.

    python scripts/write_docs.py          # or: make docs

tests/test_docs.py fails if a page is out of date.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a clone, without installing it

from longva_demo.cli.parser import build_parser
from longva_demo.eval.plan import hours, task_cost
from longva_demo.eval.published import FIGURES, NEEDLES, TASKS, Figure
from longva_demo.settings import SETTINGS, flag_of, variable_of

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "serve",
    "ask",
    "frames",
    "words",
    "find",
    "chapters",
    "niah",
    "niah compare",
    "eval",
    "replay",
    "capacity",
    "mcp",
    "doctor",
)
WIDTH = "100"
FENCE = "```"
FIGURES_START, FIGURES_END = "<!-- figures -->\n", "\n<!-- end of figures -->"
HUB = {"LongVA-7B": "lmms-lab", "LongVA-7B-DPO": "lmms-lab", "LongVA-7B-TPO": "ruili0"}

CLI = """# Command line

<!-- Written by scripts/write_docs.py from --help. -->

`longva-demo` and `python -m longva_demo` are the same program. Results go to standard output, progress and notes to
standard error. With `--json` a command prints one JSON object and nothing else on standard output. After a bad input,
the exit code is 2 and standard error has one line.

Every setting can also come from the environment; [configuration.md](configuration.md) lists them.
"""

CONFIGURATION = """# Configuration

<!-- The table is written by scripts/write_docs.py from the fields of longva_demo/settings.py. -->

Settings come from the environment or from flags; flags take precedence. An unknown `LONGVA_*` variable is an error, so
misspelt names are reported at the start.

| variable | flag | default | meaning |
|---|---|---|---|
"""

OTHERS = """
The page offers number of frames, answer length, temperature, top-p and decoder for each question. The settings above
only set where they start.

## Variables of the libraries

| variable | meaning |
|---|---|
| `GRADIO_TEMP_DIR` | folder for uploads; each server process makes its own folder there and deletes it at the end |
| `TMPDIR` | folder for sampled frames and previews |
| `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` | the Hub's cache, access token and offline mode |
| `GRADIO_SERVER_NAME` | address to listen on; takes precedence over `LONGVA_HOST` |
| `OMP_WAIT_POLICY` | set to `PASSIVE` if unset, so that PyTorch's waiting threads leave the cores to the decoder |

Telemetry of Gradio and of the Hub's client is off unless you set `GRADIO_ANALYTICS_ENABLED=True` or
`HF_HUB_DISABLE_TELEMETRY=0`. The tests read `BROWSER_PATH` and `FIREFOX_PATH`
([CONTRIBUTING.md](../CONTRIBUTING.md)).
"""


def help_text(*arguments: str) -> str:
    """What `longva-demo ARGUMENTS --help` prints on a terminal of 100 columns."""
    before, printed = os.environ.get("COLUMNS"), io.StringIO()
    os.environ["COLUMNS"] = WIDTH
    try:
        with redirect_stdout(printed), suppress(SystemExit):
            build_parser().parse_args([*arguments, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return printed.getvalue().rstrip()


def cli_page() -> str:
    sections = [CLI, f"{FENCE}\n{help_text()}\n{FENCE}\n"]
    sections += [f"## {command}\n\n{FENCE}\n{help_text(command)}\n{FENCE}\n" for command in COMMANDS]
    return "\n".join(sections)


def configuration_page() -> str:
    helps = " ".join(help_text(command) for command in COMMANDS)
    rows = []
    for one in SETTINGS.values():
        flag = f"`{flag_of(one)}`" if f"[{flag_of(one)} " in helps else ""
        choices = one.metadata["choices"]
        meaning = one.metadata["help"] + (f": {', '.join(f'`{choice}`' for choice in choices)}" if choices else "")
        rows.append(f"| `{variable_of(one)}` | {flag} | {shown(one.default)} | {meaning} |\n")
    return CONFIGURATION + "".join(rows) + OTHERS


def evaluation_page() -> str:
    """docs/evaluation.md with the table of published figures between its two markers."""
    before, rest = (ROOT / "docs" / "evaluation.md").read_text("utf-8").split(FIGURES_START)
    return before + FIGURES_START + "".join(figure_rows()) + FIGURES_END + rest.split(FIGURES_END)[1]


def figure_rows() -> Iterator[str]:
    yield "\n| benchmark | model | published | source | check it with | needs | our run |\n"
    yield "|---|---|---|---|---|---|---|\n"
    for figure in FIGURES:
        details = [text for text in (figure.part, figure.note) if text]
        details += [f"{figure.frames} frames"] if figure.frames else []
        name = f"{figure.title}, {', '.join(details)}" if details else figure.title
        cells = (name, figure.model, f"{figure.value:g}", figure.source, *checks(figure))
        yield f"| {' | '.join(cells)} |\n"


def checks(figure: Figure) -> tuple[str, str, str]:
    """The command that checks a figure, what it needs, and what it gave."""
    if not figure.task:
        needs = "[niah.md](niah.md)" if figure.check == NEEDLES else ""
        return figure.check, needs, "not run"
    model, task = f"{HUB[figure.model]}/{figure.model}", TASKS[figure.task]
    flags = f" --frames {figure.frames}" if figure.frames != task.frames and figure.frames else ""
    cost = task_cost(task, figure.frames or task.frames)
    needs = f"{cost.memory_bytes / 1e9:.0f} GB, {hours(cost.seconds)}"
    return f"`longva-demo eval {task.name} --model {model}{flags}`", needs, "not run"


def shown(default: object) -> str:
    """A default as the table shows it.

    >>> shown(4294967296), shown(21600.0), shown("")
    ('4294967296 (4 GiB)', '21600', 'none')
    """
    if isinstance(default, int) and default >= 1024**3:
        return f"{default} ({default // 1024**3} GiB)"
    return f"{default:g}" if isinstance(default, float) else str(default) or "none"


if __name__ == "__main__":
    pages = {"cli.md": cli_page(), "configuration.md": configuration_page(), "evaluation.md": evaluation_page()}
    for name, text in pages.items():
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}")
