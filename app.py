"""`python app.py`: the page, and the entry point of a Hugging Face Space. Flags as in `serve`."""

import sys

from longva_demo.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
