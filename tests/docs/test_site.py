"""The documentation site has a page for everything, generated from the code, and no link of it leads nowhere."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
import typer

import ddbench
from ddbench import hookspecs, kit, testing
from ddbench.cli.app import app
from ddbench.plugins import KINDS, Plugins
from ddbench_docs import pages as site_pages
from ddbench_docs import staging
from ddbench_docs.names import documented, known_errors

PLUGINS = Plugins(())
SYNTHESIZERS = PLUGINS.names("synthesizer")
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]+)?\)|src=\"([^\"]+)\"")


@pytest.fixture(scope="session")
def source(tmp_path_factory, root) -> Path:
    """The whole site's source, as Sphinx gets it."""
    out = tmp_path_factory.mktemp("site")
    site_pages.stage_all(root, out)
    return out


@pytest.fixture(scope="session")
def section(source):
    """Return a function from a generated page and a heading to the text under it."""

    def cut(page: str, heading: str) -> str:
        text = (source / "reference" / f"{page}.md").read_text("utf-8")
        parts = re.split(r"^## `?([^`\n]+)`?$", text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]

    return cut


def commands(command, path="ddbench"):
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_shows_every_flag_with_its_help(path, section):
    text = section("commands", path)
    for parameter in COMMANDS[path].params:
        rows = [line for line in text.splitlines() if line.startswith("|") and any(name in line for name in parameter.opts)]
        if parameter.param_type_name == "option":
            assert any(parameter.help.partition("  ")[0].replace("|", "\\|") in line for line in rows), parameter.name


@pytest.mark.parametrize("path", COMMANDS)
def test_every_flag_and_argument_has_help(path):
    assert [parameter.name for parameter in COMMANDS[path].params if not parameter.help] == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "network"])
def test_every_option_of_everything_stands_on_its_kinds_page(kind, section):
    for name in PLUGINS.names(kind):
        text, value = section(f"{kind}s", name), PLUGINS.get(kind, name).value
        model = getattr(value, "options", None)
        for option, field in model.model_fields.items() if model else ():
            shown = re.escape(field.description.replace("|", r"\|"))
            assert re.search(rf"^\| `{option}` \| {shown}<br>\*(default|needed)\*", text, re.MULTILINE), (name, option)


@pytest.mark.parametrize("kind", ["synthesizer", "teacher", "prior", "objective", "selector"])
def test_every_number_of_a_preset_stands_beside_its_source(kind, section):
    from ddbench.cells import presets_of

    for name in PLUGINS.names(kind):
        for preset in presets_of(PLUGINS.get(kind, name)).values():
            text = section(f"{kind}s", name).partition(f"### Preset {preset.name}\n")[2].partition("\n### ")[0]
            assert text, (name, preset.name)
            assert [option for option in preset.layer.values if f"| `{option}` |" not in text] == []
            assert [note for note in preset.layer.notes.values() if note.replace("|", "\\|") not in text] == []


@pytest.mark.parametrize("name", ddbench.__all__)
def test_every_public_name_has_a_section_that_says_what_it_is(name, section):
    assert len(section("names", name).strip()) > 20 or name == "__version__"
    assert documented(ddbench, name)


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_of_the_conformance_kit_has_a_section(name, section):
    assert documented(testing, name)
    assert documented(testing, name).partition("\n")[0] in section("testing", name)


@pytest.mark.parametrize("name", kit.__all__)
def test_every_building_block_has_a_section_with_its_signature(name, section):
    assert documented(kit, name)
    assert documented(kit, name).partition("\n")[0] in section("kit", name)
    assert re.search(rf"^(def|class) {name}\b", section("kit", name), re.MULTILINE)


def test_how_a_class_that_is_no_dataclass_begins_is_shown(section):
    assert "def __init__(self, network: nn.Module, shape: tuple[int, int, int]) -> None" in section("kit", "Embedder")


def test_every_hook_has_a_section_with_its_signature(section):
    for name in (name for name in vars(hookspecs) if name.startswith("ddbench_")):
        assert f"def {name}() -> Iterable[" in section("hooks", name)


@pytest.mark.parametrize(("name", "error"), list(known_errors()))
def test_every_error_says_when_it_is_raised_and_what_to_do(name, error, section):
    condition, _, todo = error.__doc__.partition("What to do: ")
    assert condition.strip()
    assert todo.strip(), f"the docstring of {name} lacks a paragraph that begins with `What to do: `"
    assert f"Exit code {error.exit_code}" in section("errors", name)
    assert "What to do: " in section("errors", name)


def test_every_link_of_the_sites_source_leads_to_a_page_or_a_file_of_it(source):
    broken = []
    for page in source.rglob("*.md"):
        text = staging.FENCE.sub("", page.read_text("utf-8"))
        for found in LINK.findall(re.sub(r"`[^`\n]*`", "", text)):
            link = found[0] or found[1]
            if "://" not in link and not (page.parent / link).exists():
                broken.append(f"{page.relative_to(source)}: {link}")
    assert broken == []


def test_every_page_is_in_exactly_one_table_of_contents(source):
    listed = []
    for page in source.rglob("*.md"):
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            lines = [line for line in tree.splitlines() if line and not line.startswith(":")]
            names = [re.sub(r".* <(.+)>", r"\1", line) for line in lines]
            listed += [(page.parent / name).relative_to(source).as_posix() for name in names]
    pages = {page.relative_to(source).as_posix().removesuffix(".md") for page in source.rglob("*.md")} - {"index"}
    assert sorted(listed) == sorted(pages)


def test_no_mark_of_a_generated_part_is_left(source):
    assert [page.name for page in source.rglob("*.md") if "<!-- generated:" in page.read_text("utf-8")] == []


@pytest.mark.parametrize("name", SYNTHESIZERS)
def test_every_method_has_a_page_with_idea_equations_options_presets_and_records(name, root, source):
    page = (root / "docs" / "methods" / f"{name}.md").read_text("utf-8")
    idea = page.split("\n\n")[1]
    assert len(re.findall(r"[.?](?=\s|$)", idea)) == 5
    assert page.count("$$") >= 2
    assert f'<img src="{name}.png"' in page
    assert (root / "docs" / "methods" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for part in ("options", "presets", "published", "measured"):
        assert f"<!-- generated: {part} {name} -->" in page
    for option in PLUGINS.get("synthesizer", name).value.options.model_fields:
        assert f"| `{option}` |" in (source / "methods" / f"{name}.md").read_text("utf-8")


def test_every_method_has_a_picture_of_its_own(root):
    pictures = {name: (root / "docs" / "methods" / f"{name}.png").read_bytes() for name in SYNTHESIZERS}
    assert [(one, other) for one, other in combinations(pictures, 2) if pictures[one] == pictures[other]] == []


@pytest.mark.parametrize("name", SYNTHESIZERS)
def test_every_method_is_in_the_overview(name, root):
    assert f"| [{name}]({name}.md) |" in (root / "docs" / "methods" / "index.md").read_text("utf-8")


@pytest.mark.parametrize("model", [ddbench.Augment, ddbench.Optimiser, ddbench.ExpertOptions])
def test_fields_of_public_models_are_shown_with_their_help(model, section):
    text = section("names", model.__name__)
    assert [name for name in model.model_fields if f"| `{name}` |" not in text] == []


def test_links_of_code_blocks_are_left_alone(tmp_path, root):
    text = "[a](docs/data.md)\n\n```sh\n[b](docs/data.md)\n```\n"
    turned = staging.turned(
        text, source="README.md", pages={"README.md": "overview.md", "docs/data.md": "data.md"}, root=root, out=tmp_path
    )
    assert turned == "[a](data.md)\n\n```sh\n[b](docs/data.md)\n```\n"


def test_a_link_to_a_file_brings_the_file_along(tmp_path, root):
    turned = staging.turned("[l](../LICENSE)", source="docs/data.md", pages={"docs/data.md": "data.md"}, root=root, out=tmp_path)
    assert turned == "[l](files/LICENSE)"
    assert (tmp_path / "files" / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()


def test_a_link_to_a_folder_without_a_readme_is_refused(tmp_path, root):
    with pytest.raises(FileNotFoundError, match="tests is a folder"):
        staging.turned("[t](tests)", source="README.md", pages={"README.md": "overview.md"}, root=root, out=tmp_path)
