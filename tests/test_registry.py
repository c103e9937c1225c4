"""Every form of ``--impl``, and every way in which one can go wrong, with the words that it is told in."""

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vitbench.adapter import Adapter
from vitbench.adapters.reference import ReferenceAdapter
from vitbench.errors import AdapterBroken, AdapterNotFound, VitbenchError
from vitbench.registry import Registration, installed, registered, resolve

ADAPTER = """
from vitbench.adapter import Adapter

class Mine(Adapter):
    name, version = "mine", "1.2"

    def build(self, config):
        return config
"""
SECOND = """
class Other(Mine):
    name = "other"
"""
FUNCTIONS = """
name = "plain functions"

def build(config):
    return config

def load(model, state):
    pass

def logits(model, images):
    return images
"""
BUILT_IN = (
    "reference, timm, torchvision, transformers, vit_pytorch, "
    "open_clip, labml_nn, vformer, pytorch_pretrained_vit, vision_transformer_pytorch, keras_hub"
)
FORMS = (
    "Other forms: package.module:object, a package with vitbench_adapter, adapter.py[:object], model.onnx, onnx:NAME"
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from, and the current one; what a test imported is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("my_", "vitbench_candidate_")):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def failure(impl: str, kind: type[VitbenchError]) -> str:
    """The text of the error that resolving ends in."""
    with pytest.raises(kind) as caught:
        resolve(impl)
    assert caught.value.exit_code == 4
    return str(caught.value)


# --- registered names ---


def test_a_built_in_name_gives_its_adapter() -> None:
    adapter = resolve("reference")
    assert isinstance(adapter, ReferenceAdapter)
    assert adapter.name == "reference"


def test_each_resolution_makes_an_adapter_of_its_own() -> None:
    assert resolve("reference") is not resolve("reference")


def test_built_in_names_come_first() -> None:
    assert ", ".join(list(registered())[:11]) == BUILT_IN


def test_a_registration_knows_whether_its_package_is_there() -> None:
    assert Registration("a", "json:tool", "json").installed
    assert not Registration("a", "no_such_package_here:x", "no_such_package_here").installed


def test_looking_for_a_package_does_not_import_it(site: Path) -> None:
    write(site, {"my_loud/__init__.py": "raise RuntimeError('imported')"})
    assert Registration("loud", "my_loud:x", "my_loud").installed
    assert "my_loud" not in sys.modules


def test_an_adapter_may_warn_while_it_is_imported(site: Path) -> None:
    write(site, {"my_old.py": f"import warnings\nwarnings.warn('old', DeprecationWarning)\n{ADAPTER}"})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("error")
        assert resolve("my_old.py").name == "mine"
    assert [str(one.message) for one in told] == ["old"]


def test_a_name_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Registration("vit_far", "vitbench.adapters.far:Far", "vit_far_away")
    monkeypatch.setattr("vitbench.registry.BUILT_IN", (missing,))
    assert failure("vit_far", AdapterNotFound) == (
        "implementation 'vit_far' needs the package 'vit_far_away', which is not installed; pip install vit-far-away"
    )
    assert "vit_far" not in installed()


def test_a_package_that_pip_knows_by_another_name_is_named_as_pip_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Registration("far", "vitbench.adapters.far:Far", "vit_far_away", "far-away-torch")
    monkeypatch.setattr("vitbench.registry.BUILT_IN", (missing,))
    assert failure("far", AdapterNotFound).endswith("which is not installed; pip install far-away-torch")


def entry_point(folder: Path, line: str) -> None:
    """An installed distribution with one entry point."""
    info = "my_dist-1.0.dist-info"
    write(
        folder,
        {
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: my-dist\nVersion: 1.0\n",
            f"{info}/entry_points.txt": f"[vitbench.adapters]\n{line}\n",
        },
    )


def test_an_entry_point_of_an_installed_package_is_a_name(site: Path) -> None:
    write(site, {"my_vit/__init__.py": "", "my_vit/bench.py": ADAPTER})
    entry_point(site, "my-vit = my_vit.bench:Mine")
    assert registered()["my-vit"] == Registration("my-vit", "my_vit.bench:Mine", "my_vit")
    assert "my-vit" in installed()
    assert resolve("my-vit").name == "mine"


def test_an_entry_point_does_not_replace_a_built_in_name(site: Path) -> None:
    entry_point(site, "timm = my_vit:Mine")
    assert registered()["timm"].target == "vitbench.adapters.timm:TimmAdapter"


def test_an_entry_point_of_a_whole_module_serves(site: Path) -> None:
    write(site, {"my_functions.py": FUNCTIONS})
    entry_point(site, "fns = my_functions")
    assert resolve("fns").name == "plain functions"


# --- module:object ---


def test_a_module_and_a_class_in_it(site: Path) -> None:
    write(site, {"my_mod.py": ADAPTER + SECOND})
    assert resolve("my_mod:Mine").name == "mine"
    assert resolve("my_mod:Other").name == "other"


def test_a_module_and_an_instance_in_it_are_taken_as_they_are(site: Path) -> None:
    write(site, {"my_mod.py": ADAPTER + "\nready = Mine()\nready.name = 'ready'"})
    assert resolve("my_mod:ready") is sys.modules["my_mod"].ready


def test_an_object_within_an_object(site: Path) -> None:
    write(site, {"my_mod.py": ADAPTER + "\nclass Space:\n    inner = Mine"})
    assert resolve("my_mod:Space.inner").name == "mine"


def test_a_missing_object_is_told_with_what_the_module_has(site: Path) -> None:
    write(site, {"my_mod.py": ADAPTER})
    assert failure("my_mod:Yours", AdapterNotFound) == (
        "--impl 'my_mod:Yours': tried 'Yours' in 'my_mod' (it has Adapter, Mine); "
        f"registered names: {BUILT_IN}. {FORMS}"
    )


@pytest.mark.parametrize("value", ["3", "'text'", "(1, 2)", "None"])
def test_an_object_within_a_plain_value_is_told_too(site: Path, value: str) -> None:
    write(site, {"my_mod.py": f"x = {value}"})
    assert failure("my_mod:x.far", AdapterNotFound).startswith("--impl 'my_mod:x.far': tried 'far' in 'my_mod' (it has")


def test_a_missing_module_lists_the_registered_names() -> None:
    assert failure("no_such_module_here:x", AdapterNotFound) == (
        "--impl 'no_such_module_here:x': tried module 'no_such_module_here' (not importable); "
        f"registered names: {BUILT_IN}. {FORMS}"
    )


def test_a_missing_submodule_is_not_found(site: Path) -> None:
    write(site, {"my_pkg/__init__.py": ""})
    assert "tried module 'my_pkg.sub' (not importable)" in failure("my_pkg.sub:x", AdapterNotFound)


@pytest.mark.parametrize("value", ["3", "'Mine'", "{'build': 1}"])
def test_an_object_that_is_no_adapter_says_what_it_is(site: Path, value: str) -> None:
    write(site, {"my_mod.py": f"x = {value}"})
    found = failure("my_mod:x", AdapterBroken)
    kind = type(eval(value)).__name__  # noqa: S307  # a literal above
    assert found == (
        f"my_mod:x is a {kind} without a method build(config); "
        "an adapter subclasses vitbench.adapter.Adapter or offers its methods (docs/adapters.md)"
    )


# --- packages ---


def test_a_package_with_a_submodule_vitbench_adapter(site: Path) -> None:
    write(site, {"my_pkg/__init__.py": "", "my_pkg/vitbench_adapter.py": ADAPTER})
    assert resolve("my_pkg").name == "mine"


def test_a_package_with_an_attribute_vitbench_adapter(site: Path) -> None:
    write(site, {"my_pkg/__init__.py": ADAPTER + "\nvitbench_adapter = Mine"})
    assert resolve("my_pkg").name == "mine"


def test_a_subpackage_with_vitbench_adapter(site: Path) -> None:
    write(site, {"my_pkg/__init__.py": "", "my_pkg/sub/__init__.py": "", "my_pkg/sub/vitbench_adapter.py": ADAPTER})
    assert resolve("my_pkg.sub").name == "mine"


def test_a_package_without_either_says_so(site: Path) -> None:
    write(site, {"my_pkg/__init__.py": ""})
    assert failure("my_pkg", AdapterNotFound).startswith(
        "--impl 'my_pkg': tried my_pkg.vitbench_adapter "
        "(package 'my_pkg' has no such submodule or attribute; write an adapter); registered names: reference, "
    )


@pytest.mark.parametrize("impl", ["", ":", ":x", "my pkg", "..", ".pkg", "no_such_package_here", "no_such.sub", "a-b"])
def test_what_names_nothing_is_not_found(impl: str) -> None:
    found = failure(impl, AdapterNotFound)
    assert found.startswith(f"--impl {impl!r}: tried ")
    assert BUILT_IN in found


# --- files ---


def test_a_file_with_one_adapter(site: Path) -> None:
    write(site, {"adapter.py": ADAPTER})
    assert resolve("adapter.py").name == "mine"
    assert resolve(str(site / "adapter.py")).name == "mine"


def test_a_file_and_an_object_in_it(site: Path) -> None:
    write(site, {"adapter.py": ADAPTER + SECOND})
    assert resolve("adapter.py:Other").name == "other"


def test_a_file_of_functions(site: Path) -> None:
    write(site, {"adapter.py": FUNCTIONS})
    adapter: Any = resolve("adapter.py")
    assert (adapter.name, adapter.build(5)) == ("plain functions", 5)


def test_a_file_that_names_its_adapter(site: Path) -> None:
    write(site, {"adapter.py": ADAPTER + SECOND + "\nadapter = Other()"})
    assert resolve("adapter.py").name == "other"


def test_an_imported_adapter_class_does_not_count_as_the_files_own(site: Path) -> None:
    write(site, {"adapter.py": "from vitbench.adapters.reference import ReferenceAdapter\n" + ADAPTER})
    assert resolve("adapter.py").name == "mine"


@pytest.mark.parametrize(("text", "names"), [(ADAPTER + SECOND, "Mine, Other"), ("x = 1", "none")])
def test_a_file_of_two_adapters_or_none_must_be_told_which(site: Path, text: str, names: str) -> None:
    write(site, {"adapter.py": text})
    assert failure("adapter.py", AdapterBroken) == (
        "adapter.py must define exactly one subclass of vitbench.adapter.Adapter, or an object named adapter; "
        f"it defines {names}; name one as adapter.py:OBJECT"
    )


def test_a_missing_file_is_told_with_its_path(site: Path) -> None:
    assert failure("far/adapter.py", AdapterNotFound).startswith(
        "--impl 'far/adapter.py': tried file 'far/adapter.py' (not there); registered names: "
    )


def test_a_missing_object_of_a_file_is_told_with_what_it_has(site: Path) -> None:
    write(site, {"adapter.py": ADAPTER})
    assert "tried 'Far' in 'adapter.py' (it has Adapter, Mine)" in failure("adapter.py:Far", AdapterNotFound)


def test_a_changed_file_is_read_again(site: Path) -> None:
    write(site, {"adapter.py": ADAPTER})
    assert resolve("adapter.py").version == "1.2"
    write(site, {"adapter.py": ADAPTER.replace('"1.2"', '"1.2.3 and more"')})
    assert resolve("adapter.py").version == "1.2.3 and more"


# --- failing imports ---


def test_an_error_at_import_is_told_on_one_line_with_its_place(site: Path) -> None:
    write(site, {"adapter.py": "x = 1\nraise RuntimeError('no\\n  such thing')"})
    assert failure("adapter.py", AdapterBroken) == (
        "adapter 'adapter.py' fails to import: RuntimeError: no such thing (adapter.py:2)"
    )


def test_a_missing_dependency_of_an_adapter_is_named(site: Path) -> None:
    write(site, {"my_mod.py": "import no_such_dependency_here"})
    assert failure("my_mod:Mine", AdapterBroken) == (
        "adapter 'my_mod:Mine' fails to import: "
        "ModuleNotFoundError: No module named 'no_such_dependency_here' (my_mod.py:1)"
    )


@pytest.mark.parametrize("impl", ["my_pkg.sub:Mine", "my_pkg.sub"])
def test_a_missing_dependency_of_the_package_around_it_is_named(site: Path, impl: str) -> None:
    write(site, {"my_pkg/__init__.py": "import no_such_dependency_here", "my_pkg/sub.py": ADAPTER})
    assert failure(impl, AdapterBroken) == (
        "my_pkg.sub fails to import: ModuleNotFoundError: No module named 'no_such_dependency_here' (__init__.py:1)"
    )


def test_a_missing_dependency_whose_name_begins_the_packages_own_is_named(site: Path) -> None:
    """As jax in jaxvit: the package is there, and its dependency is what is missing."""
    write(site, {"my_jaxvit/__init__.py": "import my_jax", "my_jaxvit/sub.py": ADAPTER})
    assert "ModuleNotFoundError: No module named 'my_jax'" in failure("my_jaxvit.sub:Mine", AdapterBroken)


def test_a_syntax_error_is_told_with_its_file(site: Path) -> None:
    write(site, {"adapter.py": "def build(:\n"})
    found = failure("adapter.py", AdapterBroken)
    assert found.startswith("adapter 'adapter.py' fails to import: SyntaxError: ")
    assert "adapter.py, line 1" in found


@pytest.mark.parametrize(
    ("impl", "files", "told"),
    [
        ("adapter.py", {"adapter.py": "exit"}, "adapter 'adapter.py' exits"),
        ("my_mod:Mine", {"my_mod.py": "exit"}, "adapter 'my_mod:Mine' exits"),
        ("my_pkg.sub:Mine", {"my_pkg/__init__.py": "exit", "my_pkg/sub.py": ADAPTER}, "my_pkg.sub exits"),
        ("my_pkg.sub", {"my_pkg/__init__.py": "exit", "my_pkg/sub.py": ADAPTER}, "my_pkg.sub exits"),
    ],
)
def test_an_adapter_that_exits_at_import_does_not_end_the_run(
    site: Path, impl: str, files: dict[str, str], told: str
) -> None:
    write(site, {name: text.replace("exit", "import sys\nsys.exit(0)") for name, text in files.items()})
    assert failure(impl, AdapterBroken) == f"{told} the process while it is imported"


def test_an_interrupt_at_import_stays_an_interrupt(site: Path) -> None:
    write(site, {"adapter.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        resolve("adapter.py")


def test_a_lazy_module_that_fails_when_asked_is_told_with_its_cause(site: Path) -> None:
    write(site, {"my_lazy.py": "def __getattr__(name):\n    raise RuntimeError('cannot load ' + name)"})
    assert failure("my_lazy:Mine", AdapterBroken) == (
        "adapter 'my_lazy:Mine' fails to import: RuntimeError: cannot load Mine (my_lazy.py:2)"
    )


def test_a_constructor_that_raises_is_told_with_its_place(site: Path) -> None:
    write(site, {"adapter.py": ADAPTER + "\n    def __init__(self):\n        raise OSError('no licence')"})
    assert "OSError: no licence (adapter.py:11)" in failure("adapter.py", AdapterBroken)


# --- the contract ---


def test_an_object_that_offers_the_methods_is_an_adapter_without_subclassing(site: Path) -> None:
    methods = "    def build(self, config): ...\n    def load(self, model, state): ...\n    def logits(self, m, i): ..."
    write(site, {"my_mod.py": f"class Duck:\n{methods}"})
    adapter = resolve("my_mod:Duck")
    assert not isinstance(adapter, Adapter)


def test_an_adapter_without_logits_is_broken(site: Path) -> None:
    write(site, {"my_mod.py": "class Half:\n    def build(self, config): ..."})
    assert failure("my_mod:Half", AdapterBroken) == (
        "adapter 'my_mod:Half' has no method logits(); the contract asks for it (docs/adapters.md)"
    )


def test_an_adapter_without_load_is_one_whose_requirements_are_not_offered(site: Path) -> None:
    write(site, {"my_mod.py": FUNCTIONS.replace("def load", "def _load")})
    entry_point(site, "fns = my_mod")
    adapter = resolve("fns")
    assert (adapter.name, hasattr(adapter, "load")) == ("plain functions", False)


def test_a_class_without_build_is_broken(site: Path) -> None:
    write(site, {"my_mod.py": "class Empty:\n    pass"})
    assert failure("my_mod:Empty", AdapterBroken).startswith("my_mod:Empty is a class without a method build(config); ")


@pytest.mark.parametrize(
    ("impl", "missing"), [("model.onnx", "onnx, onnxruntime"), ("onnx:timm", "onnx, onnxruntime, onnxscript")]
)
def test_onnx_that_is_not_installed_is_told_with_the_extra(
    impl: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitbench.registry._spec", lambda name: None)
    with pytest.raises(AdapterNotFound) as raised:
        resolve(impl)
    assert str(raised.value) == (
        f"--impl {impl!r} needs {missing}, which are not installed; pip install 'vitbench[onnx]'"
    )


def test_a_framework_that_is_not_installed_is_told_with_the_extra(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.py"
    adapter.write_text("raise ModuleNotFoundError(\"No module named 'flax'\", name='flax')\n")
    with pytest.raises(AdapterBroken, match=r"fails to import: ModuleNotFoundError.*; pip install 'vitbench\[jax\]'$"):
        resolve(str(adapter))
