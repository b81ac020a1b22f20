"""Text in, summary out."""


class TextsAndSummaries:
    """Methods of a latent summarizer that read and write strings."""
