"""Reading an application bundle from a directory."""

import json
from pathlib import Path

import pytest

from dataplane.client.bundle import BundleError, load_bundle, set_js_app


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "app.json").write_text('{"endpoints": {}}')
    (tmp_path / "src" / "b.js").write_text("export {}")
    (tmp_path / "src" / "deep" / "a.js").write_text("// é")
    (tmp_path / "src" / "notes.txt").write_text("not a module")
    return tmp_path


def test_modules_are_named_relative_to_src(directory: Path) -> None:
    bundle = load_bundle(directory)
    assert bundle == {
        "metadata": {"endpoints": {}},
        "modules": [{"name": "b.js", "module": "export {}"}, {"name": "deep/a.js", "module": "// é"}],
    }
    action = set_js_app(bundle)
    assert action["name"] == "set_js_app"
    assert action["args"] == {"bundle": bundle, "disable_bytecode_cache": False}
    json.dumps(action)


def test_a_directory_without_the_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"must hold app\.json"):
        load_bundle(tmp_path)


def test_broken_files_are_named(directory: Path) -> None:
    (directory / "src" / "b.js").write_bytes(b"\xff")
    with pytest.raises(BundleError, match=r"b\.js"):
        load_bundle(directory)
    (directory / "app.json").write_text("{")
    with pytest.raises(BundleError, match=r"app\.json"):
        load_bundle(directory)
