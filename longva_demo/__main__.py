"""`python -m longva_demo`: the same as the command `longva-demo`."""

import sys

from longva_demo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
