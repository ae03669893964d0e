"""Labelled sets to train on, and data files read and written in chunks."""

from pe_deploy.data.dataset import Dataset
from pe_deploy.data.digits import digits
from pe_deploy.data.loading import load
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.reader import Chunk, RowReader, WriteChunk
from pe_deploy.data.splitting import split
from pe_deploy.data.synthetic import (
    NOTEBOOK_LENGTH,
    NOTEBOOK_VOCAB_SIZE,
    Draw,
    synthetic,
)

__all__ = [
    "NOTEBOOK_LENGTH",
    "NOTEBOOK_VOCAB_SIZE",
    "Chunk",
    "Dataset",
    "Draw",
    "RowReader",
    "WriteChunk",
    "digits",
    "load",
    "open_rows",
    "split",
    "synthetic",
]
