"""An interactive demo of LongVA: ask about long videos and see which frames the model was given."""

__version__ = "0.1.0"
