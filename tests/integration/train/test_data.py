"""Formats and sources of data, the small print of the spec, and what a plan says in advance."""
import json
import subprocess

import pytest

from conftest_models import make_model, write_texts
from reference import BIN, metrics, run_train, spec_for

METHOD = {"type": "lora", "r": 2, "lora_alpha": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("data") / "model")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def first_step(folder, model, path, kind, **training):
    spec = spec_for(model, path, METHOD, {"max_steps": 1, "per_device_train_batch_size": 8, **training})
    spec["data"]["train"][0]["format"] = kind
    return metrics(run_train(folder / kind, spec), "loss")[1]


def test_alpaca_and_sharegpt_are_the_messages_they_stand_for(tmp_path, model):
    pairs = [("harbour keel", "anchor mast"), ("rope", "tide wind sail")]
    files = {
        "messages": [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs],
        "alpaca": [{"instruction": q, "input": "", "output": a} for q, a in pairs],
        "sharegpt": [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in pairs]}
    found = {kind: first_step(tmp_path, model, write(tmp_path / f"{kind}.jsonl", rows), kind) for kind, rows in files.items()}
    for kind in ("alpaca", "sharegpt"):
        for key in ("loss", "tokens", "trained_tokens"):
            assert found[kind][key] == found["messages"][key], kind


def test_parquet_rows_are_those_of_jsonl(tmp_path, model):
    """As datasets writes them: members that a row has not are nulls."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"messages": [{"role": "system", "content": "deck"}, {"role": "user", "content": f"harbour {i}"},
                          {"role": "assistant", "content": "anchor \u00e4\U0001f680"}], "id": i} for i in range(40)]
    stored = [{**r, "messages": [{**m, "tool_calls": None} for m in r["messages"]], "tools": None} for r in rows]
    stored[3]["messages"][1]["tool_calls"] = ["mast"]  # so that the column has a type
    table = pyarrow.Table.from_pylist(stored).set_column(1, "id", [pyarrow.array(range(40)).dictionary_encode()])
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=7, compression="zstd")
    rows[3]["messages"][1]["tool_calls"] = ["mast"]
    jsonl = first_step(tmp_path / "a", model, write(tmp_path / "rows.jsonl", rows), "messages")
    found = first_step(tmp_path / "b", model, tmp_path / "rows.parquet", "messages")
    assert {k: found[k] for k in ("loss", "tokens", "trained_tokens")} == {k: jsonl[k] for k in ("loss", "tokens", "trained_tokens")}


def test_a_broken_parquet_file_and_row_are_named(tmp_path, model):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    parquet.write_table(pyarrow.Table.from_pylist([{"text": "keel"}, {"text": None}]), tmp_path / "row.parquet")
    for name, said in (("broken", "broken.parquet"), ("row", "row.parquet line 2")):
        spec = spec_for(model, tmp_path / f"{name}.parquet", METHOD, {})
        error = next(e for e in run_train(tmp_path / name, spec, expect=1) if e["type"] == "error")
        assert error["code"] == "INVALID_DATA" and said in error["message"] and error["advice"]


def test_sources_have_weights(tmp_path, model):
    a, b = write(tmp_path / "a.jsonl", [{"text": "harbour keel"}] * 4), write(tmp_path / "b.jsonl", [{"text": "rope tide wind"}] * 10)
    lengths = {}
    for name, weights in (("a", (1, None)), ("b", (None, 1)), ("mixed", (2.5, 0.5))):
        spec = spec_for(model, a, METHOD, {"per_device_train_batch_size": 64, "num_train_epochs": 1})
        spec["data"]["train"] = [{"path": str(p), "format": "text", "weight": w} for p, w in zip((a, b), weights) if w]
        lengths[name] = metrics(run_train(tmp_path / name, spec), "loss")[1]["tokens"]
    assert lengths["mixed"] == 2.5 * lengths["a"] + 0.5 * lengths["b"]


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    """More than fit into the blocks that training begins on; every hundredth row has nothing to learn."""
    rows = [{"prompt": f"harbour {i % 97} " * (20 if i % 100 == 7 else 1), "completion": f"keel {i % 89}"} for i in range(20000)]
    return write(tmp_path_factory.mktemp("many") / "rows.jsonl", rows)


def many_rows_spec(model, path, **training):
    spec = spec_for(model, path, METHOD, {"per_device_train_batch_size": 64, "max_length": 48, "shuffle": True, **training})
    spec["data"]["train"][0]["format"] = "prompt_completion"
    return spec


@pytest.mark.parametrize("ranks, training", [
    (1, {"max_steps": 12}), (1, {"max_steps": 8, "packing": True}), (1, {"max_steps": 6, "shuffle": False}), (2, {"max_steps": 6, "packing": True})],
                         ids=["rows", "packed", "in order", "two ranks"])
def test_steps_are_the_same_before_and_after_all_is_tokenised(tmp_path, model, many_rows, ranks, training):
    spec = many_rows_spec(model, many_rows, save_steps=4, **training)
    spec["parallel"] = {"ranks": ranks}
    spec["data"]["cache"] = str(tmp_path / "cache")
    results = []
    for name in ("early", "cached"):
        found = run_train(tmp_path / name, spec)
        results.append([{k: v for k, v in m.items() if k in ("loss", "grad_norm", "tokens")} for m in metrics(found, "loss").values()])
        if name == "early":  # a set that is whole, for the second run
            run_train(tmp_path / "whole", many_rows_spec(model, many_rows, num_train_epochs=0.001, **{
                k: v for k, v in training.items() if k != "max_steps"}) | {"data": spec["data"]})
    assert results[0] == results[1] and len(results[0]) == training["max_steps"]
    adapters = [(tmp_path / n / "out/adapter/adapter_model.safetensors").read_bytes() for n in ("early", "cached")]
    assert adapters[0] == adapters[1]


def test_parquet_rows_are_taken_in_the_same_order(tmp_path, model, many_rows):
    """By the block, and as a whole."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist([json.loads(line) for line in many_rows.read_text().splitlines()])
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=3000)
    losses = {}
    for path in (many_rows, tmp_path / "rows.parquet"):
        found = run_train(tmp_path / path.suffix, many_rows_spec(model, path, per_device_train_batch_size=2000, max_steps=12, max_length=16))
        losses[path.suffix] = [m["loss"] for m in metrics(found, "loss").values()]
    assert losses[".parquet"] == losses[".jsonl"] and len(losses[".jsonl"]) == 12


def test_a_run_goes_from_the_first_blocks_into_later_epochs(tmp_path, model, many_rows):
    spec = many_rows_spec(model, many_rows, per_device_train_batch_size=2000, max_steps=12, max_length=16)
    found = run_train(tmp_path / "work", spec)
    counts, steps = metrics(found, "train_rows")[0], metrics(found, "loss")
    assert counts["train_rows"] == 20000 and counts["dropped_rows"] == 200 and counts["steps_per_epoch"] == 10
    assert steps[10]["trained_tokens"] == counts["train_trained_tokens"] and steps[12]["epoch"] == 1.2
    assert any(e["type"] == "warning" and e["code"] == "ROWS_DROPPED" for e in found)


def test_a_broken_line_far_behind_the_first_blocks_ends_the_run(tmp_path, model, many_rows):
    path = tmp_path / "rows.jsonl"
    path.write_text(many_rows.read_text() + '{"prompt": 3}\n')
    found = run_train(tmp_path / "work", many_rows_spec(model, path, max_steps=100000), expect=1)
    error = next(e for e in found if e["type"] == "error")
    assert error["code"] == "INVALID_DATA" and "line 20001" in error["message"] and error["advice"]


def test_max_steps_wins_over_epochs_and_the_learning_rate_is_the_step_s_own(tmp_path, model):
    path = tmp_path / "train.jsonl"
    write_texts(path, 20)
    spec = spec_for(model, path, METHOD, {"max_steps": 4, "num_train_epochs": 9, "learning_rate": 1e-2, "lr_scheduler_type": "linear",
                                          "warmup_steps": 2})
    found = metrics(run_train(tmp_path / "work", spec), "loss")
    assert [found[s]["learning_rate"] for s in sorted(found)] == [0.0, 5e-3, 1e-2, 5e-3]


def test_padding_tokens_within_a_text_are_trained(tmp_path, model):
    """The end token is also the padding token: only places behind the text would be padding, and there are none."""
    path = write(tmp_path / "train.jsonl", [{"text": "harbour<|im_end|>keel"}])
    values = first_step(tmp_path, model, path, "text")
    assert values["trained_tokens"] == values["tokens"] - 1 and values["tokens"] >= 4


def test_a_plan_tells_steps_memory_and_time_and_writes_nothing(tmp_path, model):
    path = tmp_path / "train.jsonl"
    write_texts(path, 40)
    spec = spec_for(model, path, METHOD, {"num_train_epochs": 3, "per_device_train_batch_size": 4})
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    work = tmp_path / "work"
    done = subprocess.run([BIN / "slipway-train", "--spec", tmp_path / "spec.json", "--workdir", work, "--plan"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["total_steps"] == 30 and plan["steps_per_epoch"] == 10 and plan["train_rows"] == 40
    assert plan["duration_s"] > 0 and plan["seconds_per_step"] > 0 and plan["peak_memory_bytes"] > 1e6 and plan["fits"]
    spec["parallel"] = {"ranks": 2, "strategy": "fsdp"}
    spec["training"]["gradient_accumulation_steps"] = 2
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    told = subprocess.run([BIN / "slipway-train", "--spec", tmp_path / "spec.json", "--workdir", work, "--plan"],
                          capture_output=True, text=True, check=True).stdout
    assert json.loads(told)["ranks"] == 2 and json.loads(told)["total_steps"] == 9
    assert not work.exists()
    (tmp_path / "spec.json").write_text("{}")
    assert subprocess.run([BIN / "slipway-train", "--spec", tmp_path / "spec.json", "--workdir", work, "--plan"],
                          capture_output=True).returncode == 2


@pytest.mark.parametrize("row, missing", [({"instruction": "sail"}, "output"), ({"conversations": [{"from": "human"}]}, "value"),
                                          ({"conversations": [{"from": "parrot", "value": "x"}]}, "human")])
def test_rows_of_other_shapes_are_named(tmp_path, model, row, missing):
    path = write(tmp_path / "train.jsonl", [row])
    spec = spec_for(model, path, METHOD, {})
    spec["data"]["train"][0]["format"] = "alpaca" if "instruction" in row else "sharegpt"
    found = run_train(tmp_path / "work", spec, expect=1)
    error = next(e for e in found if e["type"] == "error")
    assert error["code"] == "INVALID_DATA" and "line 1" in error["message"] and missing in error["message"]
