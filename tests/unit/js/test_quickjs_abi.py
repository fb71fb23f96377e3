"""The engine is exactly the one the declarations were written for, or it is refused at import."""

from importlib import metadata

import pytest

from dataplane.js import quickjs_abi


def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.17.0.3")
    with pytest.raises(ImportError, match=r"0\.17\.0\.2 is required, 0\.17\.0\.3 is installed"):
        quickjs_abi._open_library()


def test_an_engine_that_calls_itself_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickjs_abi, "REQUIRED_VERSION", "9.9.9")
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9")
    with pytest.raises(ImportError, match=r"calls itself 0\.17\.0"):
        quickjs_abi._open_library()


def test_a_missing_symbol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickjs_abi, "_DECLARATIONS", quickjs_abi._DECLARATIONS + "void JS_NoSuchThing(void);")
    with pytest.raises(AttributeError, match="JS_NoSuchThing"):
        quickjs_abi._open_library()
