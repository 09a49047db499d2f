"""The page: a video, its sampled frames, and a chat about them. The engine is passed in; no weights are loaded here."""
