"""The trainer's fault tests share models and helpers with its oracle tests."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "oracle" / "train"))
