"""Loads folders that may do harm, one after the other, and prints a JSON line about each. Run as a process of its own.

Standard input is a pipe that never answers, no connection is allowed, and memory is limited. What a folder's own code
would do is `touch` the file CANARY.
"""

import builtins
import contextlib
import io
import json
import resource
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

EXTRA_MEMORY = 3 * 2**30  # beyond what Python and the libraries have mapped
attempts: list[str] = []


def forbid(what: str) -> Any:
    def refuse(*args: Any, **_: Any) -> NoReturn:
        attempts.append(f"{what} {args}")
        raise OSError(f"{what} is forbidden")

    return refuse


def forbid_all() -> None:
    """Forbid connections and questions to the user, and limit memory."""
    socket.socket.connect = forbid("connected")  # type: ignore[method-assign]
    socket.socket.connect_ex = forbid("connected")  # type: ignore[method-assign]
    socket.getaddrinfo = forbid("looked up")
    builtins.input = forbid("asked")
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + EXTRA_MEMORY,) * 2)


def load_as_the_demo(folder: str) -> None:
    loaded = load(folder, device="cpu")
    loaded.processor.encode_text("What happens in this video?")
    loaded.processor.decode([1, 2, 3])


def load_as_a_user_of_transformers(folder: str) -> None:
    """Through every class, each whatever became of the others. Raises the last error."""
    error: Exception | None = None
    own = (LongVAConfig, LongVAProcessor, LongVAForConditionalGeneration)
    # AutoModel itself follows a LoRA adapter to the model that it names, on the Hub too, before it asks our classes.
    is_adapter = (Path(folder) / "adapter_config.json").exists()
    for kind in own if is_adapter else (AutoConfig, AutoProcessor, AutoModel, AutoModelForImageTextToText, *own):
        try:
            # Without this, AutoProcessor itself asks about a processor_class that it does not know.
            options = {} if kind in own else {"trust_remote_code": False}
            kind.from_pretrained(folder, **options)  # type: ignore[attr-defined]
        except Exception as caught:
            error = caught
    if error is not None:
        raise error


def examine(folder: str, entry: str) -> dict[str, Any]:
    """Load one folder: what was raised, how long it took, and what was attempted."""
    attempts.clear()
    begin, error = time.process_time(), None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            (load_as_the_demo if entry == "demo" else load_as_a_user_of_transformers)(folder)
    except BaseException as caught:  # a panic of Rust is not an Exception
        error = [type(caught).__name__, str(caught)]
    seconds = time.process_time() - begin
    return {"folder": folder, "entry": entry, "error": error, "seconds": seconds, "attempts": list(attempts)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

    from longva_demo.model import LongVAConfig, LongVAForConditionalGeneration, LongVAProcessor, load

    torch.set_num_threads(1)
    report = sys.stdout
    load_as_the_demo("tiny")  # imports what is imported late, before memory is limited
    forbid_all()
    for job in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(examine(*job)), file=report, flush=True)
