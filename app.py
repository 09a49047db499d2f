"""`python app.py`: the page, and the entry point of a Hugging Face Space. Flags as in `serve`."""

import os
import sys

if os.environ.get("SPACES_ZERO_GPU"):  # a ZeroGPU Space: its package must come before torch
    import spaces  # noqa: F401

from longva_demo.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
