"""Bad specs and bad data each end with an exit status and an error event that says what, where and what to do."""
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest_models import make_model, write_texts
from reference import events, metrics, run_train, spec_for


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("input") / "model")


@pytest.fixture
def spec(tmp_path, model):
    write_texts(tmp_path / "train.jsonl", 20)
    return spec_for(model, tmp_path / "train.jsonl", {"type": "lora", "r": 2, "lora_alpha": 4}, {"max_steps": 2})


def failure(tmp_path, spec, status, code):
    run_train(tmp_path / "work", spec, expect=status)
    said = events(tmp_path / "work")
    error = [e for e in said if e["type"] == "error"][-1]
    assert error["code"] == code and error["advice"]
    assert said[-1]["type"] == "finished" and said[-1]["status"] == "failed"
    assert not (tmp_path / "work/out/adapter").exists()
    return error["message"] + "\n" + error["advice"]


def test_a_misspelt_field_and_a_wrong_type_are_named_together(tmp_path, spec):
    spec["training"]["learning_rat"] = 1e-4
    spec["training"]["warmup_steps"] = "three"
    message = failure(tmp_path, spec, 2, "INVALID_SPEC")
    assert "training.learning_rat" in message and "learning_rate" in message and "training.warmup_steps" in message


def test_fields_of_every_method_and_objective_are_checked(tmp_path, spec):
    spec["method"] = {"type": "prompt_tuning", "num_virtual_token": 4, "prompt_tuning_init": 3}
    spec["objective"] = {"type": "reward", "center_rewards_coefficient": "a little"}
    message = failure(tmp_path, spec, 2, "INVALID_SPEC")
    assert "method.num_virtual_token " in message and "num_virtual_tokens" in message
    assert "method.prompt_tuning_init" in message and "objective.center_rewards_coefficient" in message


def test_an_unknown_target_module_is_refused(tmp_path, spec):
    spec["method"]["target_modules"] = ["q_proj", "v_porj"]
    assert "v_proj" in failure(tmp_path, spec, 2, "INVALID_SPEC")


def test_a_length_beyond_the_context_is_refused(tmp_path, spec):
    spec["training"]["max_length"] = 257
    assert "256" in failure(tmp_path, spec, 2, "INVALID_SPEC")


def test_a_gpu_that_is_asked_for_and_not_there_is_missed(tmp_path, spec, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    spec["training"]["device"] = "cuda"
    message = failure(tmp_path, spec, 2, "INVALID_SPEC")
    assert "training.device: cuda, but no GPU" in message and "set training.device to cpu or auto" in message


@pytest.mark.parametrize("line", ['{"text": "broken', '{"txet": "x"}', '{"text": 3}', "[1]", '{"text": "\udcff"}'])
def test_a_broken_line_is_named(tmp_path, spec, line):
    path = tmp_path / "train.jsonl"
    lines = path.read_text().splitlines()
    lines[16] = line
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    assert "train.jsonl line 17:" in failure(tmp_path, spec, 1, "INVALID_DATA")


def test_an_empty_set_is_refused(tmp_path, spec):
    (tmp_path / "train.jsonl").write_text("\n\n")
    failure(tmp_path, spec, 1, "INVALID_DATA")


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_missing_data_file_is_named_before_anything_is_read(tmp_path, spec, name):
    spec["data"][name] = [{"path": str(tmp_path / "absent.jsonl"), "format": "text"}]
    assert "absent.jsonl" in failure(tmp_path, spec, 1, "NOT_FOUND")
    assert not any(e["type"] == "phase" and e["name"] == "tokenize" for e in events(tmp_path / "work"))


def test_more_ranks_at_least_than_there_are_is_refused(tmp_path, spec):
    spec["parallel"] = {"ranks": 2, "min_ranks": 3}
    message = failure(tmp_path, spec, 2, "INVALID_SPEC")
    assert "parallel.min_ranks: 3 is more than the 2 ranks" in message and "raise parallel.ranks" in message


def test_a_learning_rate_without_measure_ends_in_a_loss_that_is_not_a_number(tmp_path, spec):
    spec["training"] |= {"learning_rate": 1e30, "lr_scheduler_type": "constant", "max_steps": 4}
    assert "lower training.learning_rate" in failure(tmp_path, spec, 1, "NAN_LOSS")


@pytest.mark.parametrize("method", [{"type": "lora", "r": 2, "lora_alpha": 4}, {"type": "prompt_tuning"}], ids=["lora", "prompt"])
def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path, model, method):
    broken = make_model(tmp_path / "model")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    write_texts(tmp_path / "train.jsonl", 4)
    spec = spec_for(broken, tmp_path / "train.jsonl", method, {}, output={"adapter": "out/adapter"})
    assert "step 1" in failure(tmp_path, spec, 1, "NAN_LOSS")


def test_an_output_that_cannot_be_written_is_noticed_before_training(tmp_path, spec):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/out").write_text("a file where the folder should be")
    run_train(tmp_path / "work", spec, expect=1)
    said = events(tmp_path / "work")
    assert any(e["type"] == "error" and "out" in e["message"] for e in said) and not metrics(said, "loss")


def test_another_spec_or_other_data_does_not_continue_a_run(tmp_path, spec):
    work = tmp_path / "work"
    spec["training"]["save_steps"] = 1
    run_train(work, spec)
    lines = (work / "events.jsonl").read_text().splitlines(keepends=True)
    (work / "events.jsonl").write_text("".join(lines[:-1]))  # as if it had been killed at the very end
    changed = json.loads(json.dumps(spec))
    changed["training"]["learning_rate"] = 0.5
    run_train(work, changed, expect=2)
    write_texts(tmp_path / "train.jsonl", 20, seed=9)
    run_train(work, spec, expect=1)
    assert [e["code"] for e in events(work) if e["type"] == "error"] == ["INVALID_SPEC", "INVALID_DATA"]


def test_rows_without_a_trained_token_are_dropped_and_counted(tmp_path, model):
    path = tmp_path / "train.jsonl"
    long_prompt = "harbour keel " * 40  # the completion lies beyond max_length
    rows = [{"prompt": "rope ", "completion": "tide"}, {"prompt": long_prompt, "completion": "wind"},
            {"prompt": "sail ", "completion": "mast " * 60}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_for(model, path, {"type": "lora", "r": 2, "lora_alpha": 4}, {"num_train_epochs": 2, "max_length": 32})
    spec["data"]["train"][0]["format"] = "prompt_completion"
    said = run_train(tmp_path / "work", spec)
    counts = metrics(said, "train_rows")[0]
    assert (counts["train_rows"], counts["dropped_rows"], counts["truncated_rows"]) == (3, 1, 1)
    assert {e["code"] for e in said if e["type"] == "warning"} == {"ROWS_DROPPED", "ROWS_TRUNCATED"}
    steps = metrics(said, "loss")
    assert sorted(steps) == [1, 2] and steps[2]["trained_tokens"] == 2 * counts["train_trained_tokens"]
    assert steps[2]["tokens"] == 2 * counts["train_tokens"]


def test_eval_steps_and_save_steps_of_zero_mean_never(tmp_path, spec):
    spec["data"]["validation"] = spec["data"]["train"]
    said = run_train(tmp_path / "work", spec)
    assert not metrics(said, "eval_loss") and not any(e["type"] == "checkpoint" for e in said)


def test_a_learning_rate_of_zero_changes_nothing(tmp_path, spec, model):
    spec["training"].update(learning_rate=0, max_steps=3, eval_steps=1)
    spec["data"]["validation"] = spec["data"]["train"]
    said = run_train(tmp_path / "work", spec)
    assert len({m["eval_loss"] for m in metrics(said, "eval_loss").values()}) == 1
    base, merged = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "work/out/merged"))
    assert base.keys() == merged.keys() and all(torch.equal(base[k], merged[k]) for k in base)
