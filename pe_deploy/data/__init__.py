"""Labelled sets to train on, and data files read and written in chunks."""

from pe_deploy.data.built_in import NOTEBOOK_LENGTH, NOTEBOOK_VOCAB_SIZE, digits, synthetic
from pe_deploy.data.chunk import Chunk
from pe_deploy.data.columns import Columns
from pe_deploy.data.data_file import DataFile
from pe_deploy.data.dataset import Dataset
from pe_deploy.data.loading import load, load_texts
from pe_deploy.data.open_rows import open_rows
from pe_deploy.data.splitting import split
from pe_deploy.data.text_dataset import TextDataset

__all__ = [
    "NOTEBOOK_LENGTH",
    "NOTEBOOK_VOCAB_SIZE",
    "Chunk",
    "Columns",
    "DataFile",
    "Dataset",
    "TextDataset",
    "digits",
    "load",
    "load_texts",
    "open_rows",
    "split",
    "synthetic",
]
