"""What the trainer's oracle tests share."""
import pathlib
import sys

import pytest
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent))
torch.set_num_threads(2)

from conftest_models import make_model, write_texts  # noqa: E402


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def texts(tmp_path):
    """(path, rows) of a data set in the format `text`."""
    path = tmp_path / "train.jsonl"
    return path, write_texts(path, 24)
