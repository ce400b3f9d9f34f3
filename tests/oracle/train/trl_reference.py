"""TRL's trainers without their surroundings: the losses, the batches and the tokenising are TRL's own code, on models that the tests
make. TRL is installed without `datasets` and `pandas`, of which this code needs only the names and a list of rows."""
import contextlib
import importlib.machinery
import sys
import types
from collections import defaultdict

import torch
from transformers import AutoModelForCausalLM

SETTINGS = {"ld_alpha": None, "f_divergence_type": "reverse_kl", "use_weighting": False, "aux_loss_enabled": False,
            "precompute_ref_logps": False, "label_smoothing": 0.0, "_total_train_tokens": 0, "_tp_size": 1, "is_encoder_decoder": False}


class Rows(list):
    """What TRL asks of a datasets.Dataset."""

    format = {"type": None}

    @property
    def column_names(self):
        return list(self[0])

    def map(self, function, fn_kwargs=None, batched=False, batch_size=1000, **_):
        if not batched:
            return Rows({**row, **function(dict(row), **(fn_kwargs or {}))} for row in self)
        result = Rows()
        for begin in range(0, len(self), batch_size):
            part = self[begin:begin + batch_size]
            columns = function({key: [row[key] for row in part] for key in part[0]})
            result += [dict(zip(columns, values)) for values in zip(*columns.values())]
        return result

    def filter(self, function, **_):
        return Rows(row for row in self if function(row))

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__version__ = "0"
    module.__dict__.update(members)
    sys.modules[name] = module


def import_trl():
    nothing = {name: type(name, (), {}) for name in ("DatasetDict", "IterableDataset", "IterableDatasetDict", "Hasher", "DataFrame")}
    stand_in("datasets", Dataset=Rows, concatenate_datasets=None, **nothing)
    stand_in("datasets.fingerprint", **nothing)
    stand_in("pandas", **nothing)
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_trainer import KTOTrainer
    from trl.trainer.reward_trainer import RewardTrainer
    from trl.trainer.sft_trainer import SFTTrainer
    for name in ("datasets", "datasets.fingerprint", "pandas"):  # nobody else is to take them for the real ones
        del sys.modules[name]
    return {"dpo": DPOTrainer, "orpo": ORPOTrainer, "kto": KTOTrainer, "reward": RewardTrainer, "sft": SFTTrainer}


TRAINERS = import_trl()


def policy(folder):
    """A causal model whose log-probabilities TRL's trainers can ask for."""
    from trl.trainer.utils import add_fused_lm_head
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model


def trainer(kind, model, reference, tokenizer, args=None, **settings):
    """One of TRL's trainers with the attributes that its losses read."""
    made = object.__new__(TRAINERS[kind])
    same = lambda value: value  # noqa: E731
    accelerator = types.SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same, unwrap_model=same,
                                        autocast=contextlib.nullcontext)
    arguments = {"max_length": 64, "truncation_mode": "keep_start", "dataset_num_proc": None, "gradient_checkpointing_kwargs": None,
                 "center_rewards_coefficient": None, "per_device_train_batch_size": 8, "completion_only_loss": True, **(args or {})}
    made.__dict__.update(SETTINGS, model=model, ref_model=reference, accelerator=accelerator, args=types.SimpleNamespace(**arguments),
                         _metrics={mode: defaultdict(list) for mode in ("train", "eval")}, processing_class=tokenizer,
                         _tokenizer=tokenizer, max_length=arguments["max_length"], padding_value=tokenizer.pad_token_id, **settings)
    return made


def tokenised(made, rows):
    """The rows as the trainer prepares them."""
    return made._prepare_dataset(Rows(rows), made.processing_class, made.args, "train")
