"""Serve the page as on a machine with little memory, so that prefixes are evicted early. Flags as for `serve`."""

import sys

from longva_demo.chat import budget
from longva_demo.cli.main import main

# Holds the prefix of one clip of 16 frames of the built-in model, besides those in use.
FREE_BYTES = 6_000_000

if __name__ == "__main__":
    budget.host_free_memory = lambda: FREE_BYTES
    sys.exit(main(["serve", *sys.argv[1:]]))
