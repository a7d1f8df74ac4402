"""What the package registers, and that listing and planning stay light."""

from __future__ import annotations

import subprocess
import sys

from ddbench import Options, Teacher
from ddbench_plugins.teachers import ddbench_teachers


def test_the_hook_returns_three_ways_to_get_a_teacher():
    found = list(ddbench_teachers())
    assert [teacher.name for teacher in found] == ["scratch", "pretrained", "checkpoint"]
    assert all(isinstance(teacher, Teacher) for teacher in found)


def test_every_option_has_help_and_a_default():
    for teacher in ddbench_teachers():
        assert issubclass(teacher.options, Options)
        assert [name for name, field in teacher.options.model_fields.items() if not field.description] == []
        teacher.options()


def test_only_a_checkpoint_is_told_apart_by_its_file():
    assert [teacher.fingerprint(teacher.options()) for teacher in ddbench_teachers() if teacher.name != "checkpoint"] == ["", ""]


def test_importing_the_plugin_imports_neither_torch_nor_numpy():
    code = (
        "import sys; from ddbench_plugins.teachers import ddbench_teachers\n"
        "[t.options() for t in ddbench_teachers()]\n"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
