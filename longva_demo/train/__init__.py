"""The published training recipe: long text first, then single images (arXiv 2406.16852, section 3)."""
