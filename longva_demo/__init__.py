"""An interactive demo of LongVA: ask about long videos and see which frames the model was given."""

import os

# Threads of PyTorch that wait for each other on a CPU sleep rather than spin: spinning takes the core from the decoder
# that they wait for, and several times as long. Read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
