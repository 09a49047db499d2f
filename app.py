"""`python app.py`: the page, and the entry point of a Hugging Face Space. Flags as in `serve`."""

import os
import sys

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  it must come before torch, so that the model can be placed on a GPU that is lent later

from longva_demo.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
