"""What a visitor sees: a video, the frames that were sampled, and a chat about them. No weights are loaded here."""
