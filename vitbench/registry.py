"""From the value of ``--impl`` to an adapter, of ``--kernel`` to a function. Nothing is imported before it is asked for."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vitbench.errors import AdapterBroken, AdapterNotFound, VitbenchError
from vitbench.warned import warnings_warn

if TYPE_CHECKING:
    from vitbench.adapter import Adapter
    from vitbench.inference.inferring import Inferred

ENTRY_POINT_GROUP = "vitbench.adapters"


@dataclass(frozen=True)
class Registration:
    """A name that ``--impl`` knows: where its adapter is, and which package it needs."""

    name: str
    target: str  # module:object
    package: str  # top-level module that must be importable
    distribution: str = ""  # what to install for it, where that has another name

    @property
    def to_install(self) -> str:
        """What pip calls the package."""
        return self.distribution or self.package.replace("_", "-")

    @property
    def installed(self) -> bool:
        """Whether the adapted package can be imported here; found without importing it."""
        return importlib.util.find_spec(self.package) is not None


@dataclass(frozen=True)
class _Asked:
    """What is looked for, as a message has it."""

    option: str
    noun: str
    name: str

    def __str__(self) -> str:
        return f"{self.noun} {self.name!r}"

    def not_found(self, tried: str) -> AdapterNotFound:
        """Nothing of that name: what was tried, and what could be asked for."""
        could = "use package.module:function, or a path kernel.py:function"
        if self.option == "--impl":
            could = (
                f"registered names: {', '.join(registered())}. "
                "Other forms: package.module:object, a package with vitbench_adapter, adapter.py[:object], model.onnx, "
                "onnx:NAME"
            )
        return AdapterNotFound(f"{self.option} {self.name!r}: tried {tried}; {could}")


BUILT_IN = (
    Registration("reference", "vitbench.adapters.reference:ReferenceAdapter", "torch"),
    Registration("timm", "vitbench.adapters.timm:TimmAdapter", "timm"),
    Registration("torchvision", "vitbench.adapters.torchvision:TorchvisionAdapter", "torchvision"),
    Registration("transformers", "vitbench.adapters.transformers:TransformersAdapter", "transformers"),
    Registration("vit_pytorch", "vitbench.adapters.vit_pytorch:VitPytorchAdapter", "vit_pytorch"),
    Registration("open_clip", "vitbench.adapters.open_clip:OpenClipAdapter", "open_clip", "open-clip-torch"),
    Registration("labml_nn", "vitbench.adapters.labml_nn:LabmlAdapter", "labml_nn"),
    Registration("vformer", "vitbench.adapters.vformer:VFormerAdapter", "vformer"),
    Registration(
        "pytorch_pretrained_vit",
        "vitbench.adapters.pytorch_pretrained_vit:PytorchPretrainedVitAdapter",
        "pytorch_pretrained_vit",
    ),
    Registration(
        "vision_transformer_pytorch",
        "vitbench.adapters.vision_transformer_pytorch:VisionTransformerPytorchAdapter",
        "vision_transformer_pytorch",
    ),
    Registration("keras_hub", "vitbench.adapters.keras_hub:KerasHubAdapter", "keras_hub", "'vitbench[keras]'"),
)


def registered() -> dict[str, Registration]:
    """Built-in names first, then those of installed packages' entry points."""
    names = {registration.name: registration for registration in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        names.setdefault(entry.name, Registration(entry.name, entry.value, entry.value.split(":")[0].split(".")[0]))
    return names


def installed() -> list[str]:
    """Registered names whose package is importable here: what a run without ``--impl`` covers."""
    return [name for name, registration in registered().items() if registration.installed]


def resolve(impl: str) -> "Adapter":
    """The adapter that ``--impl`` names, in any of its forms.

    A registered name; ``package.module:object``; a package with a ``vitbench_adapter`` submodule or attribute;
    a path ``adapter.py[:object]``. The object is an adapter, its class, or a module that has one; or an ordinary torch
    class or factory, whose adapter is then inferred. A file ``model.onnx``; ``onnx:`` before any of these, by its export.

    Raises:
        AdapterNotFound: nothing of that name; the text lists what was tried and the registered names.
        AdapterBroken: found, but its import or construction failed, or it lacks a method of the contract.
        NotInferred: a class or factory that was not understood.
    """
    found, origin = _find(impl)
    adapter = _inferred(found, impl) or _instance(found, origin)
    for method in ("build", "load", "logits"):
        if not callable(getattr(adapter, method, None)) and not (method == "load" and hasattr(adapter, "build")):
            raise AdapterBroken(
                f"adapter {impl!r} has no method {method}(); the contract asks for it (docs/adapters.md)"
            )
    return adapter


def resolve_kernel(kernel: str) -> Callable[..., Any]:
    """The function that ``--kernel`` names: ``package.module:function``, or a path ``kernel.py:function``.

    Raises:
        AdapterNotFound: nothing of that name; the text lists what was tried.
        AdapterBroken: found, but its import failed, or it cannot be called.
    """
    asked = _Asked("--kernel", "kernel", kernel)
    location, attribute = divided(kernel)
    if not (location and attribute):
        raise asked.not_found("nothing: no function is named")
    found, _ = _located(location, attribute, asked)
    if isinstance(found, type) or not callable(found):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise AdapterBroken(
            f"{asked} is a {kind}, expected a function (query, key, value) -> output (docs/adapters.md)"
        )
    return found


def _find(impl: str) -> tuple[Any, str]:
    """The object that ``impl`` names, and how it was found."""
    asked = _Asked("--impl", "adapter", impl)
    registration = registered().get(impl)
    if registration is not None:
        if not registration.installed:
            raise AdapterNotFound(
                f"implementation {impl!r} needs the package {registration.package!r}, which is not installed; "
                f"pip install {registration.to_install}"
            )
        return _from_module(registration.target, asked), registration.target
    if impl.endswith(".onnx") or impl.startswith(BY_WAY_OF_ONNX):
        return _onnx(impl), impl
    return _located(*divided(impl), asked)


BY_WAY_OF_ONNX = "onnx:"


def _onnx(impl: str) -> "Adapter":
    """A file's adapter; or that of any torch candidate, exported."""
    exported = impl.startswith(BY_WAY_OF_ONNX) and not impl.endswith(".onnx")
    missing = [name for name in ("onnx", "onnxruntime", *(["onnxscript"] * exported)) if _spec(name) is None]
    if missing:
        raise AdapterNotFound(
            f"--impl {impl!r} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; "
            "pip install 'vitbench[onnx]'"
        )
    if not exported:
        from vitbench.onnx_files.adapter import OnnxFileAdapter  # noqa: PLC0415  # onnx, needed only now

        return OnnxFileAdapter(Path(impl))
    from vitbench.onnx_files.exported import ExportedAdapter  # noqa: PLC0415

    return ExportedAdapter(resolve(impl.removeprefix(BY_WAY_OF_ONNX)))


def _located(location: str, attribute: str, asked: _Asked) -> tuple[Any, str]:
    """The object at a place, or all that is there, and how it was found."""
    if location.endswith(".py"):
        if Path(location).is_file():
            import torch  # noqa: F401, PLC0415  # first, so that a numpy.py beside the adapter cannot stand in for torch's

            _importable_from(Path(location).resolve().parent)  # as `python adapter.py` has it
        return _from_file(Path(location), attribute, asked), location
    _importable_from(Path.cwd())  # as `python -m` has it; the command pytest does not
    if attribute:
        return _from_module(asked.name, asked), asked.name
    return _from_package(asked), f"{asked.name}.vitbench_adapter"


def divided(impl: str) -> tuple[str, str]:
    """Where, and the object there; a path may hold colons of its own."""
    location, _, attribute = impl.rpartition(":")
    if location.endswith(".py") or (location and not impl.endswith(".py")):
        return location, attribute
    return impl, ""


def _importable_from(folder: Path) -> None:
    """Let what lies beside the user's adapter be imported, before anything else of the same name."""
    if str(folder) not in sys.path[:1]:
        sys.path.insert(0, str(folder))


def _from_module(target: str, asked: _Asked) -> Any:
    module_name, _, path = target.partition(":")
    if _spec(module_name) is None:
        raise asked.not_found(f"module {module_name!r} (not importable)")
    found = _import(module_name, asked)
    for part in path.split(".") if path else ():
        with _importing(asked):  # a lazy module imports now
            offered = hasattr(found, part)
        if not offered:
            raise asked.not_found(f"{part!r} in {module_name!r} (it has {_offers(found)})")
        found = getattr(found, part)
    return found


def _from_file(path: Path, attribute: str, asked: _Asked) -> Any:
    if not path.is_file():
        raise asked.not_found(f"file {str(path)!r} (not there)")
    name = f"vitbench_candidate_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise asked.not_found(f"file {str(path)!r} (not a Python module)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importing(asked):
        spec.loader.exec_module(module)
    if attribute and not hasattr(module, attribute):
        raise asked.not_found(f"{attribute!r} in {str(path)!r} (it has {_offers(module)})")
    return getattr(module, attribute) if attribute else module


def _from_package(asked: _Asked) -> Any:
    impl = asked.name
    if not all(part.isidentifier() for part in impl.split(".")) or _spec(impl) is None:
        raise asked.not_found(f"package {impl!r} (not importable)")
    package = _import(impl, asked)
    if hasattr(package, "vitbench_adapter"):
        return package.vitbench_adapter
    if _spec(f"{impl}.vitbench_adapter") is None:
        raise asked.not_found(
            f"{impl}.vitbench_adapter (package {impl!r} has no such submodule or attribute; write an adapter)"
        )
    return _import(f"{impl}.vitbench_adapter", asked)


def inferred_code(impl: str) -> str | None:
    """The adapter that would be inferred, as Python; None where ``impl`` is, or has, an adapter.

    Raises:
        AdapterNotFound, AdapterBroken, NotInferred: as ``resolve``.
    """
    inference = _inference(_find(impl)[0], impl)
    return None if inference is None else inference.code


def _inferred(found: Any, impl: str) -> "Adapter | None":
    """The adapter inferred for a torch class or factory; None for what is no such thing."""
    inference = _inference(found, impl)
    if inference is None:
        return None
    from vitbench.inference.apart import adapter_of  # noqa: PLC0415

    return adapter_of(inference)


def _inference(found: Any, impl: str) -> "Inferred | None":
    if isinstance(found, ModuleType) or not callable(found):
        return None
    from vitbench.inference.apart import inferred, is_inferable, source_of  # noqa: PLC0415  # torch, needed only now

    location, attribute = divided(impl)
    if not attribute or not is_inferable(found):
        return None
    module = Path(location).stem if location.endswith(".py") else location
    return inferred(found, source_of(impl, module, attribute))


def _instance(found: Any, origin: str) -> "Adapter":
    """An adapter object from an adapter, its class, or a module that holds one."""
    if isinstance(found, ModuleType) and not callable(getattr(found, "build", None)):
        found = _adapter_in(found, origin)
    if isinstance(found, type) and callable(getattr(found, "build", None)):
        with _importing(_Asked("--impl", "adapter", origin)):
            found = found()
    if not callable(getattr(found, "build", None)):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise AdapterBroken(
            f"{origin} is a {kind} without a method build(config); {_instead(found)}"
            "an adapter subclasses vitbench.adapter.Adapter or offers its methods (docs/adapters.md)"
        )
    return found


def _instead(found: Any) -> str:
    """What to name instead of a model that is made already."""
    from torch import nn  # noqa: PLC0415

    if not isinstance(found, nn.Module):
        return ""
    return "name the model's class, or a function that makes it: it is built at sizes of vitbench's own; "


def _adapter_in(module: ModuleType, origin: str) -> Any:
    """The one adapter that a module defines: an object named ``adapter``, or its only ``Adapter`` subclass."""
    from vitbench.adapter import Adapter  # noqa: PLC0415  # torch, needed only now

    if hasattr(module, "adapter"):
        return module.adapter
    own = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Adapter) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        names = ", ".join(value.__name__ for value in own) or "none"
        raise AdapterBroken(
            f"{origin} must define exactly one subclass of vitbench.adapter.Adapter, or an object named adapter; "
            f"it defines {names}; name one as {origin}:OBJECT"
        )
    return own[0]


def _spec(module_name: str) -> Any:
    """The module's spec, or None; a parent that is missing counts as None, one that fails to import as broken."""
    try:
        with warnings_warn():
            return importlib.util.find_spec(module_name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}."):
            return None
        raise AdapterBroken(f"{module_name} fails to import: {_cause(error)}") from error
    except ValueError:  # an empty name, or a module without a spec
        return None
    except Exception as error:
        raise AdapterBroken(f"{module_name} fails to import: {_cause(error)}") from error
    except SystemExit as error:
        raise AdapterBroken(f"{module_name} exits the process while it is imported") from error


def _import(module_name: str, asked: _Asked) -> ModuleType:
    with _importing(asked):
        return importlib.import_module(module_name)


@contextmanager
def _importing(asked: _Asked) -> Iterator[None]:
    """Turns whatever foreign code raises into one line that names the cause."""
    try:
        with warnings_warn():
            yield
    except VitbenchError:
        raise
    except Exception as error:
        raise AdapterBroken(f"{asked} fails to import: {_cause(error)}{_to_install(error)}") from error
    except SystemExit as error:
        raise AdapterBroken(f"{asked} exits the process while it is imported") from error


_EXTRAS = {"jax": "jax", "flax": "jax", "onnx": "onnx", "onnxruntime": "onnx", "keras": "keras", "keras_hub": "keras"}


def _to_install(error: Exception) -> str:
    """The extra that has a module which was not found, if one has."""
    missing = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"; pip install 'vitbench[{_EXTRAS[missing]}]'" if missing in _EXTRAS else ""


def _cause(error: BaseException) -> str:
    """Kind, text and innermost place of an error, on one line."""
    place = ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def _offers(module: Any) -> str:
    public: Iterator[str] = (name for name in dir(module) if not name.startswith("_"))
    return ", ".join(sorted(public)[:12]) or "nothing public"
