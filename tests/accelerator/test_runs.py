from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import ddbench
from small_suites import TEXT, suite_file

ASKED = {"students": ["convnet1-w32"], "eval_seeds": 2, "distill_seeds": 1, "ipc": 2, "smoke": 0.02}
SOFT = {"protocol": "dwa-cifar/1", "teacher": "convnet1-bn-w32", **ASKED}
STORED = {**SOFT, "protocol": "dwa-cifar-stored/1"}
HARD = {"protocol": "quick-hard/1", **ASKED}
METHODS = {
    "sre2l": SOFT,
    "dwa": SOFT,
    "random": STORED,
    "dm": HARD,
    "dc": HARD,
    "mtt": {**HARD, "options": {"experts.count": 1, "objective.network": "convnet1-w32"}},
    "glad": {**HARD, "options": {"prior": "random"}},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_whole_and_its_records_say_where(device, tmp_path, method):
    made = ddbench.run(method, store=tmp_path, device=str(device), **METHODS[method])
    assert not made.failures, made.failures
    records = [record for record in made.records if record.cell.synthesizer == method]
    assert len(records) >= 2
    for record in records:
        assert record.host["device"] == torch.cuda.get_device_name(device)
        assert not record.precision.notes


def test_several_units_share_one_accelerator(device, tmp_path):
    command = ["suite", "run", str(suite_file(tmp_path, TEXT)), "--store", str(tmp_path / "store"), "--device", device.type]
    done = subprocess.run(
        [sys.executable, "-m", "ddbench", *command, "--per-device", "2"], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(ddbench.load_records(tmp_path / "store")) == 5
