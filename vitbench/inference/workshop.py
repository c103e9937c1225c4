"""Where sketches become adapters: each is written to a file, and imported from there."""

import importlib.util
import itertools
import sys
from pathlib import Path

from torch import nn

from vitbench.adapter import Adapter
from vitbench.errors import HarnessError
from vitbench.inference.sketch import Sketch, sized
from vitbench.inference.writing import class_name, written
from vitbench.reference.config import ViTConfig


class Workshop:
    """A folder in which sketches become modules, and those adapters."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()

    def adapter(self, sketch: Sketch) -> Adapter:
        """The adapter that the sketch's code is."""
        name = f"vitbench_inferred_{next(self._numbers)}"
        path = self._folder / f"{name}.py"
        path.write_text(written(sketch), encoding="utf-8")
        return loaded(path, name, class_name(sketch))

    def model(self, sketch: Sketch, config: ViTConfig) -> nn.Module:
        """What the sketch builds, in float64 and evaluation mode.

        Raises:
            TypeError: it makes something else than a torch module.
        """
        model = self.adapter(sketch).build(sized(sketch, config))
        if not isinstance(model, nn.Module):
            raise TypeError(f"it makes a {type(model).__name__}, no torch module")
        return model.double().eval()


def loaded(path: Path, name: str, adapter: str) -> Adapter:
    """An adapter out of a file of its own.

    Raises:
        HarnessError: the file is no Python module.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise HarnessError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    made: Adapter = getattr(module, adapter)()
    return made
