"""Training as the published system was trained: long text, then single images (arXiv 2406.16852, section 3)."""
