from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def only_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
