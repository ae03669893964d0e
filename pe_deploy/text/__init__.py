"""Tokenizers of a bundle: from texts to the ids that its model takes."""
