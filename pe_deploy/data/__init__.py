"""Labelled sets to train on, and data files read and written in chunks."""

from pe_deploy.data.built_in import NOTEBOOK_LENGTH, NOTEBOOK_VOCAB_SIZE, digits, synthetic
from pe_deploy.data.chunk import Chunk
from pe_deploy.data.dataset import Dataset
from pe_deploy.data.loading import load
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.splitting import split

__all__ = [
    "NOTEBOOK_LENGTH",
    "NOTEBOOK_VOCAB_SIZE",
    "Chunk",
    "Dataset",
    "digits",
    "load",
    "open_rows",
    "split",
    "synthetic",
]
