"""The page as on a machine with little memory: what was read soon has to make room. Flags as in `serve`."""

import sys

from longva_demo.chat import budget
from longva_demo.cli.main import main

# One clip of 16 frames stays read with the built-in model, beside those that are being asked about.
FREE_BYTES = 6_000_000

if __name__ == "__main__":
    budget.host_free_memory = lambda: FREE_BYTES
    sys.exit(main(["serve", *sys.argv[1:]]))
