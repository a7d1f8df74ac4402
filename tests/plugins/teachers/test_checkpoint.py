"""checkpoint: a file of weights becomes a teacher, or an error that says what does not fit."""

from __future__ import annotations

import hashlib
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from ddbench.errors import BadOption, TeacherMismatch
from ddbench_plugins.teachers import Checkpoint
from ddbench_plugins.teachers.checkpoint import CheckpointOptions
from ddbench_plugins.teachers.files import bare


@pytest.fixture
def read(context, spec):
    """Make the teacher from a file."""

    def make(path, **options):
        return Checkpoint().train(context, CheckpointOptions(path=str(path), **options), spec)

    return make


@pytest.fixture
def saved(tmp_path, weights):
    """Save weights as safetensors or as a torch file, changed by the test."""

    def save(changes=None, *, name="teacher.safetensors", metadata=None, drop=()):
        state = {key: value.contiguous() for key, value in {**weights, **(changes or {})}.items() if key not in drop}
        path = tmp_path / name
        if name.endswith(".safetensors"):
            save_file(state, path, metadata=metadata)
        else:
            torch.save(state, path)
        return path

    return save


def test_safetensors_give_the_network_its_weights_frozen_and_in_eval_mode(read, saved, weights):
    teacher = read(saved())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in teacher.module.state_dict().items())
    assert not teacher.module.training
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())


def test_the_card_holds_top1_on_train_images(read, saved):
    card = read(saved()).card
    assert (card["train_top1"], card["train_images"]) == (1.0, 80)


def test_a_plain_state_dict_and_its_usual_wrappings_give_the_same_network(read, saved, tmp_path, weights):
    wrapped = tmp_path / "wrapped.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, wrapped)
    for path in (saved(name="plain.pt"), wrapped):
        assert all(torch.equal(tensor, weights[name]) for name, tensor in read(path).module.state_dict().items())


def test_prefixes_are_removed_only_where_every_name_has_them():
    one = torch.zeros(1)
    assert set(bare({"module._orig_mod.a": one, "module._orig_mod.b": one})) == {"a", "b"}
    assert set(bare({"module.a": one, "b": one})) == {"module.a", "b"}


def test_counters_of_batches_may_be_missing(read, saved):
    assert read(saved(drop=["norm.num_batches_tracked"])).card["train_top1"] == 1.0


def test_half_precision_weights_become_float32(read, saved, weights):
    teacher = read(saved({name: tensor.half() for name, tensor in weights.items() if tensor.is_floating_point()}))
    assert teacher.module.head.weight.dtype == torch.float32


def test_missing_and_unexpected_names_are_another_architecture(read, saved):
    path = saved({"layer1.weight": torch.zeros(1)}, drop=["head.weight", "head.bias"])
    with pytest.raises(
        TeacherMismatch, match=r"lacks head\.weight, head\.bias and has in addition layer1\.weight; give the network"
    ):
        read(path)


def test_at_most_three_names_are_listed(read, saved, weights):
    path = saved({f"extra{i}": torch.zeros(1) for i in range(5)}, drop=list(weights))
    with pytest.raises(TeacherMismatch, match=r"lacks norm\.weight, norm\.bias, norm\.running_mean and 3 more"):
        read(path)


def test_another_shape_is_another_architecture(read, saved):
    path = saved({"head.weight": torch.zeros(4, 12)})
    with pytest.raises(TeacherMismatch, match=r"head\.weight \(4, 12\) instead of \(4, 48\)"):
        read(path)


def test_another_number_of_classes_is_said_as_such(read, saved):
    path = saved({"head.weight": torch.zeros(7, 48), "head.bias": torch.zeros(7)})
    with pytest.raises(TeacherMismatch, match="answers for 7 classes, and the dataset has 4"):
        read(path)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (
            ["ant", "cat", "bee", "dog"],
            "the same classes in another order than toy: class 1 is 'cat' there and 'bee' in the dataset",
        ),
        (["ant", "bee", "cat", "emu"], "other classes than toy: class 3 is 'emu'"),
        (["ant"], "was made for 1 classes, and toy has 4"),
    ],
)
def test_a_class_list_in_metadata_or_file_must_be_the_datasets(read, saved, tmp_path, classes, said):
    with pytest.raises(TeacherMismatch, match=said):
        read(saved(metadata={"classes": json.dumps(classes)}))
    listed = tmp_path / "classes.txt"
    listed.write_text("\n".join(classes))
    with pytest.raises(TeacherMismatch, match=said):
        read(saved(), classes=str(listed))


def test_the_datasets_own_class_list_is_accepted_in_every_form(read, saved, tmp_path, train):
    lines, listed = tmp_path / "classes.txt", tmp_path / "classes.json"
    lines.write_text("ant\nbee\ncat\ndog\n")
    listed.write_text(json.dumps(train.facts.classes))
    assert read(saved(), classes=str(lines)).classes == read(saved(), classes=str(listed)).classes == train.facts.classes
    assert read(saved(metadata={"classes": json.dumps(train.facts.classes)})).classes == train.facts.classes


@pytest.mark.parametrize("order", [[1, 2, 3, 0], [0, 1, 3, 2]])
def test_an_unstated_other_order_of_classes_is_found_by_the_answers(read, saved, weights, order):
    path = saved({"head.weight": weights["head.weight"][order]})
    with pytest.raises(TeacherMismatch, match="answers in another order of classes: train images of"):
        read(path)


def test_an_untrained_network_is_as_good_as_guessing(read, saved):
    path = saved({"head.weight": torch.zeros(4, 48), "head.bias": torch.tensor([1.0, 0.0, 0.0, 0.0])})
    with pytest.raises(TeacherMismatch, match="gets 20 of 80 train images right, as good as guessing"):
        read(path)


def test_normalisation_comes_from_options_before_metadata_before_the_dataset(read, saved, train):
    about = {"mean": "[0.1, 0.2, 0.3]", "std": "[1.0, 1.0, 1.0]"}
    assert torch.equal(read(saved()).mean, torch.tensor(train.facts.mean))
    assert torch.equal(read(saved(metadata=about)).mean, torch.tensor([0.1, 0.2, 0.3]))
    teacher = read(saved(metadata=about), mean=(0.5, 0.5, 0.5))
    assert torch.equal(teacher.mean, torch.tensor([0.5, 0.5, 0.5]))
    assert torch.equal(teacher.std, torch.ones(3))


def test_normalisation_for_another_number_of_channels_is_refused(read, saved):
    with pytest.raises(BadOption, match="'mean': 1 values given, and the dataset has 3 channels"):
        read(saved(), mean=(0.5,))


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_a_file_that_holds_code_is_refused_without_running_it(read, tmp_path):
    torch_file, plain_pickle = tmp_path / "evil.pt", tmp_path / "evil.pth"
    torch.save({"state_dict": Evil()}, torch_file)
    plain_pickle.write_bytes(pickle.dumps({"state_dict": Evil()}))
    for path in (torch_file, plain_pickle):
        with pytest.raises(BadOption, match="it holds code, or is cut short, and code from a file is never run"):
            read(path)


@pytest.mark.parametrize("name", ["teacher.safetensors", "teacher.pt"])
def test_a_file_cut_short_is_refused(read, saved, name):
    path = saved(name=name)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadOption, match=r"is no whole|cut short"):
        read(path)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"epoch": 3}, {}])
def test_a_file_without_a_state_dict_is_refused(read, tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(BadOption, match="holds no state dict"):
        read(path)


def test_the_fingerprint_is_the_hash_of_the_bytes_wherever_the_file_lies(saved, tmp_path):
    path = saved()
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(path.read_bytes())
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert Checkpoint().fingerprint(CheckpointOptions(path=str(path))) == expected
    assert Checkpoint().fingerprint(CheckpointOptions(path=str(copy))) == expected
    copy.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert Checkpoint().fingerprint(CheckpointOptions(path=str(copy))) != expected


def test_the_fingerprint_holds_the_class_list_as_well(saved, tmp_path):
    listed = tmp_path / "classes.txt"
    listed.write_text("ant\nbee")
    path = saved()
    alone = Checkpoint().fingerprint(CheckpointOptions(path=str(path)))
    both = Checkpoint().fingerprint(CheckpointOptions(path=str(path), classes=str(listed)))
    assert both == f"{alone}-{hashlib.sha256(b'ant' + chr(10).encode() + b'bee').hexdigest()}"


def test_a_missing_file_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(BadOption, match=r"needs a file: give its path with -o teacher\.path=FILE"):
        Checkpoint().fingerprint(CheckpointOptions())
    with pytest.raises(BadOption, match=r"option 'path': there is no file .*nowhere\.pt"):
        Checkpoint().fingerprint(CheckpointOptions(path=str(tmp_path / "nowhere.pt")))
