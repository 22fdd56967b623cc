"""A person's own video: follow the face, still the head, spot micro-expressions, classify them, report."""
