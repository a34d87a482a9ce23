"""The command line as a user meets it: exit codes, one-line errors, names, configurations, run folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from medzoo.core.cli import main


def medzoo(*args: str) -> int:
    return main([str(a) for a in args])


def test_a_first_fit_leaves_a_whole_run_folder(workdir: Path) -> None:
    assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "1") == 0
    run = workdir / "runs/toy/toy-data/0"
    results = json.loads((run / "results.json").read_text())
    assert results["status"] == "ok"
    assert results["model"] == "toy"
    assert results["metrics"]["toy/mse"] > 0
    assert results["samples_per_second"] > 0
    assert {"config.yaml", "environment.json", "metrics.csv", "checkpoints", "report.txt"} <= {
        p.name for p in run.iterdir()
    }
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


def test_a_table_of_results_says_of_which_checkpoint_it_is(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "2", "--run_dir", "fit") == 0
    assert "toy on toy-data, weights of last.ckpt\n" in capsys.readouterr().out
    last, best = "fit/checkpoints/last.ckpt", "fit/checkpoints/best.ckpt"
    fitted = json.loads(Path("fit/results.json").read_text())
    assert fitted["ckpt_path"] == last
    for path in (last, best):
        assert medzoo("test", "--ckpt_path", path, "--run_dir", Path(path).stem) == 0
        assert f"toy on toy-data, weights of {path}\n" in capsys.readouterr().out
        tested = json.loads(Path(Path(path).stem, "results.json").read_text())
        assert tested["ckpt_path"] == path
        assert (tested["metrics"] == fitted["metrics"]) == (path == last or Path(last).samefile(best))


def test_a_second_run_never_overwrites_the_first(workdir: Path) -> None:
    for _ in range(2):
        assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "1") == 0
    assert sorted(p.name for p in (workdir / "runs/toy/toy-data").iterdir()) == ["0", "1"]


def test_the_same_command_gives_the_same_bits(workdir: Path) -> None:
    for _ in range(2):
        assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "2") == 0
    first, second = (
        torch.load(workdir / f"runs/toy/toy-data/{n}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for n in (0, 1)
    )
    assert all(torch.equal(first[k], second[k]) for k in first)
    tables = [(workdir / f"runs/toy/toy-data/{n}/metrics.csv").read_bytes() for n in (0, 1)]
    assert tables[0] == tables[1]


def test_the_saved_configuration_runs_again(workdir: Path) -> None:
    assert medzoo("fit", "--model", "toy", "--model.width", "5", "--trainer.max_epochs", "1") == 0
    saved = workdir / "runs/toy/toy-data/0/config.yaml"
    assert medzoo("fit", "--config", str(saved)) == 0
    assert yaml.safe_load((workdir / "runs/toy/toy-data/1/config.yaml").read_text()) == yaml.safe_load(
        saved.read_text()
    )


def test_print_config_round_trips(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("fit", "--model", "toy", "--print_config") == 0
    Path("run.yaml").write_text(capsys.readouterr().out)
    assert medzoo("fit", "--config", "run.yaml", "--print_config") == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(Path("run.yaml").read_text())


def test_flags_win_over_files_and_files_over_the_recipe(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(
        "model: toy\ntrainer: {max_epochs: 7}\ndata: {class_path: toy-data, init_args: {n: 8}}\n"
    )
    assert medzoo("fit", "--config", "mine.yaml", "--data.n", "12", "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["max_epochs"] == 7  # the recipe says 3
    assert config["data"]["init_args"]["n"] == 12
    assert config["model"]["class_path"] == "medzoo_toy.model.Toy"


def test_a_packaged_recipe_has_a_name(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("fit", "--config", "toy/long", "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["model"]["init_args"]["width"], config["trainer"]["max_epochs"]) == (12, 5)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["fit", "--model", "toyy"], "did you mean toy"),
        (["fit"], "missing --model"),
        (["fot", "--model", "toy"], "did you mean fit?"),
        (["--config", "x.yaml", "fit"], "the verb comes first"),
        (["fit", "--model", "toy", "--data", "toydata"], "did you mean toy-data?"),
        (["fit", "--model", "toy", "--model.lr", "abc"], "--model.lr: expected float, got abc"),
        (["fit", "--model", "toy", "--model.lrr", "1"], "no option --model.lrr; did you mean --model.lr?"),
        (["fit", "--model", "toy", "--model.width", "-1"], "--model: "),
        (["fit", "--model", "toy", "--data.nn", "1"], "no option --data.nn; did you mean --data.n?"),
        (["fit", "--model", "toy", "--trainer.max_epoch", "1"], "did you mean --trainer.max_epochs?"),
        (["fit", "--model", "toy", "--trainer.max_epochs", "x"], "--trainer.max_epochs: expected int, got x"),
        (["fit", "--model", "toy", "--model.lr", "1e400"], "--model.lr: expected a number with an end, got inf"),
        (["fit", "--model", "toy", "--model.lr=-.inf"], "--model.lr: expected a number with an end, got -inf"),
        (["fit", "--model", "toy", "--trainer.max_epochs", ""], "--trainer.max_epochs: needs a value"),
        (["fit", "--model", "toy", "--trainer.max_epochs="], "--trainer.max_epochs: needs a value"),
        (["test", "--ckpt_path", ""], "--ckpt_path: needs a value"),
        (["fit", "--model", "toy", "--config", "/proc/self/mem"], "--config /proc/self/mem: "),
        (["fit", "--model", "toy", "--trainer", "[1]"], "--trainer: expected settings by name"),
        (["fit", "--model", "toy", "--trainer", "{a.b: 1}"], "no option --trainer.a.b"),
        (["fit", "--model", "{class_path: toi}"], "no model named 'toi'"),
        (["fit", "--model", "toy", "--trainer.accelerator", "foo"], "--trainer.accelerator: expected auto, gpu, cpu"),
        (["fit", "--model", "toy", "--trainer.default_root_dir", "x"], "a run's folder is --run_dir DIR"),
        (["fit", "--model", "toy", "--trainer.use_distributed_sampler", "false"], "cannot be set here"),
        (["fit", "--model", "toy", "--trainer.enable_checkpointing", "false"], "always keeps its checkpoints"),
        (["fit", "--model", "toy", "--trainer.barebones", "true"], "always keeps its checkpoints"),
        (
            ["fit", "--model", "toy", "--trainer.callbacks", "lightning.pytorch.callbacks.LearningRateMonitor"],
            "--trainer: Cannot use",
        ),
        (["fit", "--model", "toy", "--seed_everything", "x"], "--seed_everything: expected"),
        (["fit", "--model", "toy", "--config", "nothing.yaml"], "--config nothing.yaml: no such file"),
        (["fit", "--model", "toy", "--config", "toy/paper"], "known: toy/bare, toy/default, toy/long"),
        (["fit", "--model", "toy", "--data.fault", "torn"], "toy.bin: torn; make it anew"),
        (["fit", "--model", "toy", "--resume"], "nothing to resume"),
        (["test", "--model", "toy"], "needs --ckpt_path"),
        (["test", "--ckpt_path", "gone.ckpt"], "gone.ckpt: no such checkpoint file"),
        (["test", "--ckpt_path", "http://x/y.ckpt"], "local file only"),
        (["check", "--data", "toy-data", "--data.fault", "torn"], "toy.bin: torn"),
        (["list", "a", "b"], "unexpected"),
        (["info", "nobody"], "no model named 'nobody'"),
    ],
)
def test_a_mistake_costs_one_line_and_exit_code_2(
    workdir: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    assert medzoo(*args) == 2
    out, err = capsys.readouterr()
    err = err.strip()
    assert says in err
    assert says not in out, "told twice"
    assert err.count("\n") == 0
    assert not (workdir / "runs").exists()


def test_the_help_of_a_check_tells_what_the_data_module_reads_and_its_options(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medzoo("check", "--data", "toy-data", "--help") == 0
    page = capsys.readouterr().out
    assert "--data.fault" in page
    assert "Args:" not in page
    assert medzoo("info", "toy-data") == 0
    assert "medzoo check --data toy-data --help" in capsys.readouterr().out


def test_a_configuration_cannot_name_code(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text("model: {class_path: os.system, init_args: {command: touch PWNED}}\n")
    Path("worse.yaml").write_text("model: toy\ntrainer: {logger: {class_path: this.Zen}}\n")
    Path("python.yaml").write_text("model: !!python/object/apply:os.system ['touch PWNED']\n")
    for name, says in (("bad", "not registered"), ("worse", "not allowed"), ("python", "not valid YAML")):
        assert medzoo("fit", "--config", f"{name}.yaml") == 2
        assert says in capsys.readouterr().err
    assert "this" not in sys.modules
    assert not Path("PWNED").exists()


def test_a_checkpoint_alone_tells_model_and_data_and_the_command_line_wins(workdir: Path) -> None:
    assert medzoo("fit", "--model", "toy", "--model.width", "5", "--data.n_test", "9", "--trainer.max_epochs", "1") == 0
    checkpoint = "runs/toy/toy-data/0/checkpoints/last.ckpt"
    assert medzoo("test", "--ckpt_path", checkpoint, "--run_dir", "tested") == 0
    trained = json.loads((workdir / "runs/toy/toy-data/0/results.json").read_text())
    tested = json.loads((workdir / "tested/results.json").read_text())
    assert tested["metrics"] == trained["metrics"]
    assert medzoo("test", "--ckpt_path", checkpoint, "--data.n_test", "4", "--run_dir", "other") == 0
    assert json.loads((workdir / "other/results.json").read_text())["metrics"] != trained["metrics"]
    assert yaml.safe_load((workdir / "other/config.yaml").read_text())["model"]["init_args"]["width"] == 5


def test_a_training_of_several_epochs_leaves_its_curves(workdir: Path) -> None:
    from PIL import Image

    assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "3", "--run_dir", "three") == 0
    assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "one") == 0
    with Image.open("three/curves.png") as picture:
        assert np.unique(np.asarray(picture.convert("L"))).size > 10  # lines and words, not a blank page
    assert not Path("one/curves.png").exists()
    assert medzoo("fit", "--model", "toy-stages", "--run_dir", "stages") == 0
    assert {str(path) for path in Path("stages").rglob("curves.png")} == {
        "stages/curves.png",
        "stages/stage1/curves.png",
    }


def test_predict_writes_a_record_for_each_image(workdir: Path) -> None:
    assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "1") == 0
    assert medzoo("predict", "--ckpt_path", "runs/toy/toy-data/0/checkpoints/last.ckpt", "--run_dir", "out") == 0
    written = json.loads((workdir / "out/predictions.json").read_text())
    assert [r["id"] for r in written["predictions"]] == [f"point{i}" for i in range(13)]


@pytest.mark.parametrize("verb", ["test", "predict"])
def test_a_checkpoint_that_does_not_name_its_data_is_not_answered_on_other_data(
    verb: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medzoo("fit", "--model", "toy") == 0
    checkpoint = torch.load("runs/toy/toy-data/0/checkpoints/last.ckpt", weights_only=True)
    del checkpoint["datamodule_hyper_parameters"]["_class_path"]
    torch.save(checkpoint, "nameless.ckpt")
    capsys.readouterr()
    assert medzoo(verb, "--ckpt_path", "nameless.ckpt", "--run_dir", "out") == 2
    message = capsys.readouterr().err.strip()
    assert "nameless.ckpt: does not name its data, which are in 'datamodule_hyper_parameters'; add --data" in message
    assert "\n" not in message
    assert not Path("out").exists()
    assert medzoo(verb, "--ckpt_path", "nameless.ckpt", "--data", "toy-data", "--run_dir", "out") == 0
    Path("data.yaml").write_text("data: toy-data\n")
    assert medzoo(verb, "--ckpt_path", "nameless.ckpt", "--config", "data.yaml", "--run_dir", "other") == 0


def test_stages_run_one_after_the_other_and_hand_over_a_file(workdir: Path) -> None:
    assert medzoo("fit", "--model", "toy-stages") == 0
    run = workdir / "runs/toy-stages/toy-data/0"
    first, last = (json.loads((p / "results.json").read_text()) for p in (run / "stage1", run))
    assert (first["stage"], last["stage"]) == ("stage1", "stage2")
    assert last["metrics"]["stage1/toy/mse"] == first["metrics"]["toy/mse"]
    handed = float((run / "stage1/offset.txt").read_text())
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    assert saved["stage"] == "stage2"
    assert float(Path(saved["offset_file"]).read_text()) == handed
    # Each stage alone, the second from the first's file, ends at the same weights.
    assert medzoo("fit", "--model", "toy-stages", "--model.stage", "stage1") == 0
    assert (
        medzoo("fit", "--model", "toy-stages", "--model.stage", "stage2", "--model.offset_file", saved["offset_file"])
        == 0
    )
    alone = torch.load(workdir / "runs/toy-stages/toy-data/2/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    whole = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(alone[k], whole[k]) for k in whole)


def test_resume_skips_a_finished_stage(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("fit", "--model", "toy-stages") == 0
    run = workdir / "runs/toy-stages/toy-data/0"
    before = (run / "results.json").read_text()
    stage1 = (run / "stage1/checkpoints/last.ckpt").read_bytes()
    (run / "results.json").unlink()
    (run / "checkpoints/last.ckpt").unlink()
    assert medzoo("fit", "--model", "toy-stages", "--resume") == 0
    assert "stage1: already done" in capsys.readouterr().out
    assert (run / "stage1/checkpoints/last.ckpt").read_bytes() == stage1
    assert json.loads((run / "results.json").read_text())["metrics"] == json.loads(before)["metrics"]


def test_a_dry_run_keeps_nothing(workdir: Path) -> None:
    assert medzoo("fit", "--model", "toy-stages", "--trainer.fast_dev_run", "true") == 0
    assert list(workdir.iterdir()) == []


def test_a_folder_in_use_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    assert medzoo("fit", "--model", "toy", "--run_dir", "mine") == 2
    assert "--resume" in capsys.readouterr().err
    assert [p.name for p in Path("mine").iterdir()] == ["thesis.tex"]


def test_list_json_has_the_promised_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    toy = next(r for r in rows if r["name"] == "toy")
    assert {k: toy[k] for k in ("kind", "package", "task")} == {
        "kind": "model",
        "package": "medzoo-toy",
        "task": "regression",
    }
    assert "exact resume" in toy["summary"]


def test_list_takes_a_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("list", "toy-s*") == 0
    out = capsys.readouterr().out
    assert "toy-stages" in out
    assert "toy-data" not in out


def test_help_of_a_model_starts_with_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("fit", "--model", "toy", "--help") == 0
    out = capsys.readouterr().out
    assert (
        out.index("--model.width") < out.index("--data.n") < out.index("--trainer.max_epochs") < out.index("--resume")
    )
    assert "Hidden units." in out


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["list"], ["info", "toy"], ["fit", "--model", "toyy"]])
def test_light_commands_do_not_import_torch(args: list[str]) -> None:
    code = f"import sys; from medzoo.core.cli import main; main({args!r}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_prediction_without_named_data_says_what_it_is_of(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert medzoo("fit", "--model", "toy", "--trainer.max_epochs", "1", "--quiet") == 0
    predict = ["predict", "--ckpt_path", "runs/toy/toy-data/0/checkpoints/last.ckpt", "--quiet"]
    assert medzoo(*predict) == 0
    assert "predicting on toy-data, the data of the training" in capsys.readouterr().out
    assert medzoo(*predict, "--data.n_test", "4") == 0
    assert "predicting on toy-data\n" in capsys.readouterr().out
