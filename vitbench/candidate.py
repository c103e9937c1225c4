"""A candidate under test: its adapter, called so that nothing it does can disturb the judgement."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vitbench.adapter import Adapter, Conventions, Model, NotSupported, ViTConfig
from vitbench.arrays import as_tensor, short
from vitbench.cases import (
    Case,
    as_hybrid,
    four_widths,
    nearest,
    several_heads,
    several_pixels,
    square_image,
    square_patch,
    three_channels,
    without_dropout,
    without_stem,
)
from vitbench.errors import AdapterBroken, RequirementFailed, is_lack_of_memory, one_line, raised_within
from vitbench.evidence import current_evidence
from vitbench.hybrid_trial import HybridTrial
from vitbench.isolation import Isolation
from vitbench.reference.parameters import exercised_weights
from vitbench.trial import Trial, Weights, rounds_to_float32
from vitbench.warned import warnings_warn
from vitbench.watching import OPTIONS, ignored_options

_PLAIN = ViTConfig(
    image_size=(8, 8), patch_size=(4, 4), channels=3, width=8, depth=1, num_heads=2, mlp_dim=12, num_classes=3
)

Result = TypeVar("Result")

_SLIPS = (AttributeError, ImportError, NameError, TypeError)
"""What a slip of the pen raises. Other errors are raised on purpose, as a refusal is."""

_WITHOUT_MODEL = ("build", "resize_position_embedding")


class CandidateRaised(RequirementFailed):
    """The candidate's own code raised where it should have answered."""


@dataclass(frozen=True)
class SideEffect:
    """Something that a call changed and should not have."""

    hook: str
    changed: str  # "its input", "the default dtype", …


class ForeignCode:
    """Somebody else's code, run so that nothing it does can disturb the judgement.

    Whatever it raises becomes a failure that names the place, ``NotSupported`` apart; what it changes in torch's
    global state is undone and remembered in ``side_effects``.
    """

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.side_effects: list[SideEffect] = []

    def watched(self, what: str, run: Callable[[], Result], passed: Sequence[Any], *, grad: bool = False) -> Result:
        """As ``guarded``; a tensor among what it was ``passed`` is looked at afterwards."""
        kept = [argument.clone() if isinstance(argument, Tensor) else None for argument in passed]
        try:
            return self.guarded(what, run, grad=grad)
        finally:
            for before, after in zip(kept, passed, strict=True):
                if before is not None and not torch.equal(before, after):
                    self.side_effects.append(SideEffect(what, "its input"))

    def guarded(self, what: str, run: Callable[[], Result], *, grad: bool = False) -> Result:
        """What ``run()`` returns, which runs the candidate's code: isolated, and what it raises is the candidate's.

        Raises:
            NotSupported: the adapter says so.
            CandidateRaised: anything else was raised; the text names ``what``.
        """
        isolation = Isolation(grad=grad)
        try:
            with isolation, warnings_warn():
                return run()
        except NotSupported:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and other ways out are the candidate's failure too
            how = "needs more memory than there is" if is_lack_of_memory(error) else f"raised {type(error).__name__}"
            raise CandidateRaised(f"{what}() {how}{self._where(error)}: {one_line(error)}") from error
        finally:
            self.side_effects += [SideEffect(what, change) for change in isolation.changes]

    def _where(self, error: BaseException) -> str:  # noqa: ARG002  # of a bare function, there is nothing to tell apart
        """In whose code something was raised, where that is not the candidate's."""
        return ""

    def attempted(self, what: str, run: Callable[[], Result], *, grad: bool = False) -> Result:
        """As ``guarded``, for what a model may refuse: to be compiled, say, or pickled.

        Raises:
            NotSupported: it raised anything; the text names ``what`` and the reason.
        """
        try:
            return self.guarded(what, run, grad=grad)
        except CandidateRaised as error:
            raise NotSupported(str(error)) from error


class Candidate(ForeignCode):
    """An adapter with a device, as checks see it.

    It gets clones of the harness's tensors.
    """

    def __init__(self, adapter: Adapter, device: str = "cpu") -> None:
        super().__init__(device)
        self.adapter = adapter
        self._heeded = {"channels", "num_classes"}  # options that are known to be looked at; these two are no extras
        named = getattr(adapter, "name", None) or getattr(adapter, "__name__", None)  # a module has the latter
        self.name = _shown(named or type(adapter).__name__)
        self.version = _shown(getattr(adapter, "version", "unknown"))
        self.conventions = getattr(adapter, "conventions", Conventions())
        self.inferred = tuple(map(str, getattr(adapter, "inferred", ())))  # what an inferred adapter assumes
        if not isinstance(self.conventions, Conventions):
            raise AdapterBroken(
                f"adapter {self.name!r}: conventions is a {type(self.conventions).__name__}, expected "
                "vitbench.adapter.Conventions(...)"
            )
        self.framework = _shown(getattr(adapter, "framework", "torch"))
        self._configs: Sequence[ViTConfig] = tuple(getattr(adapter, "configs", ()))
        self._batch: int | None = getattr(adapter, "batch", None)

    def _where(self, error: BaseException) -> str:
        """An adapter's own slip of the pen fails the requirement as anything does, but is not put down to the model."""
        own = isinstance(error, _SLIPS) and raised_within(error, type(self.adapter))
        return " in the adapter's own code, not in the model" if own else ""

    def offers(self, hook: str) -> bool:
        """Whether the adapter has an implementation of its own of this method."""
        own = getattr(type(self.adapter), hook, None) or getattr(self.adapter, hook, None)
        return own is not None and own is not getattr(Adapter, hook, None)

    def call(self, hook: str, *arguments: Any, grad: bool = False) -> Any:
        """Call a method of the adapter, on clones, isolated; a tensor among the arguments is checked for changes.

        Raises:
            NotSupported: the adapter says so, or has no such method.
            CandidateRaised: its code raised anything else; the text names the innermost place.
        """
        try:
            method = getattr(self.adapter, hook, None)
        except Exception as error:  # a property, or __getattr__
            raise CandidateRaised(f"looking up {hook} raised {type(error).__name__}: {one_line(error)}") from error
        if method is None:
            raise NotSupported(f"{self.name} has no method {hook}()")
        opaque = 0 if hook in _WITHOUT_MODEL else 1  # the model is the adapter's own affair, whatever it is
        passed = [*arguments[:opaque], *(self._moved(argument) for argument in arguments[opaque:])]
        return self.watched(hook, lambda: method(*passed), passed[opaque:], grad=grad)

    def build(self, config: ViTConfig, dtype: torch.dtype = torch.float64) -> Model:
        """A model in evaluation mode, on the device and in the dtype if it is a torch module."""
        model = self._built(config)
        if model is None:
            raise CandidateRaised("build() returned None, expected a model")
        if not isinstance(model, nn.Module):
            self._require_here(model)
            return model
        try:
            moved = model.to(device=self.device, dtype=dtype)
            model = moved if isinstance(moved, nn.Module) else model  # an own to() may return nothing, and so may
            model.eval()  # an own train()
        except Exception as error:
            what = f"the model does not go to {self.device}, {short(dtype)} and eval()"
            raise CandidateRaised(f"{what}: {type(error).__name__}: {one_line(error)}") from error
        return model

    def _require_here(self, model: Model) -> None:
        """A model that computes on another device than the one asked for would be judged, and timed, as what it is not."""
        if not self.offers("device"):
            return
        where = torch.device(self.guarded("device", lambda: self.adapter.device(model)))
        if (where.type, where.index or 0) != (self.device.type, self.device.index or 0):
            raise NotSupported(f"its {self.framework} model computes on {where}, not on {self.device}")

    def _built(self, config: ViTConfig) -> Model:
        """What the adapter builds; an option that is asked for and never looked at is one that it does not offer."""
        asked = {name for name, plain in OPTIONS.items() if getattr(config, name) != plain}
        if not asked - self._heeded:
            return self.call("build", config)
        model, ignored = ignored_options(lambda watched: self.call("build", watched), config)
        self._heeded |= asked - ignored
        if asked & ignored:
            names = ", ".join(f"config.{name}" for name in sorted(asked & ignored))
            raise NotSupported(f"build() never looks at {names}")
        return model

    def trial(
        self,
        case: Case,
        weights: Weights | None = None,
        *,
        exactly: bool = False,
        dtype: torch.dtype = torch.float64,
        altered: Callable[[Weights], Weights] | None = None,
    ) -> Trial:
        """The case's model with exercised (or the given) weights rounded to ``dtype``, ready to be asked.

        ``altered`` gives new values to some of the weights. Unless ``exactly``, features that the candidate declares out
        of reach are first replaced by plain ones, so that a package of square images is judged by as many examples as
        any other.
        """
        if not exactly:
            case = replace(case, config=self.within_reach(case.config))
        case = self._in_its_batch(case)
        current_evidence().ran(case)
        current_evidence().float32_inside = self.float32_inside
        if weights is None:
            weights = exercised_weights(case.config, self.conventions, case.seed)
        if altered is not None:
            weights = {**weights, **altered(weights)}
        rounded = {name: weight.to(dtype) for name, weight in weights.items()}
        trial = Trial(self, case, {name: weight.double() for name, weight in rounded.items()}, dtype)
        self.call("load", trial.model, rounded)
        return trial

    def fresh(self, case: Case) -> Trial:
        """The case's model as the package initialises it, with nothing loaded."""
        case = self._in_its_batch(case)
        current_evidence().ran(case)
        return Trial(self, case, {})

    def hybrid(self, case: Case, *, loaded: bool = True) -> HybridTrial:
        """The hybrid of the case, ready to be asked: with exercised weights behind its stem, or as initialised."""
        if not self.offers("feature_map"):
            raise NotSupported(f"{self.name} does not show its feature map")
        case = replace(case, config=self.within_reach(case.config))
        current_evidence().ran(case)
        current_evidence().float32_inside = self.float32_inside
        trial = HybridTrial(self, case)
        if loaded:
            trial.load_exercised()
        return trial

    def within_reach(self, config: ViTConfig) -> ViTConfig:
        """The configuration without the features that the candidate declares out of reach."""
        if self._configs:
            return nearest(config, self._configs)
        if config.stem == "hybrid":
            reached = as_hybrid(self.within_reach(without_stem(config)))
            return three_channels(reached) if self._hybrids_of_three_channels else reached
        for simplify in self._simplifications:
            config = simplify(config)
        return config if self.conventions.patch_embedding == "linear" else several_pixels(config)

    def _in_its_batch(self, case: Case) -> Case:
        """The case with the number of images that the candidate takes, where it takes no other."""
        return case if self._batch is None else replace(case, batch=self._batch)

    def with_head_and_pool(self, case: Case) -> Case:
        """The case; with a class token and a single linear layer where its pooling or its head is not offered."""
        plain = replace(case.config, pool="class_token", head="linear")
        if plain != case.config:
            try:
                self.build(self.within_reach(case.config))
            except NotSupported:
                return replace(case, config=plain)
        return case

    def with_every_rate(self, case: Case) -> Case:
        """The case with every kind of dropout that the candidate has, at sizes within its reach."""
        return replace(case, config=replace(self.within_reach(case.config), **self._rates))

    @cached_property
    def _rates(self) -> dict[str, Any]:
        """The most kinds of dropout that one model of its can have; found by building probes, once."""
        kinds = ("dropout", "attention_dropout", "drop_path")
        for number in range(len(kinds), 0, -1):
            for together in combinations(kinds, number):
                rates: dict[str, Any] = dict.fromkeys(together, 0.3)
                with suppress(NotSupported, RequirementFailed):
                    self.build(replace(self.within_reach(_PLAIN), depth=2, **rates))
                    return rates
        return {}

    def resize(self, table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
        """The candidate's own resizing of a position table. (1, N+1, D) -> (1, N'+1, D)."""
        resized = self.call("resize_position_embedding", table, grid, new_grid)
        answer = as_tensor(resized, "resize_position_embedding()")
        shape = (1, prod(new_grid) + int(self.conventions.class_token_has_position), table.shape[2])
        if tuple(answer.shape) != shape:
            letters = "(1, N'+1, D)" if self.conventions.class_token_has_position else "(1, N', D)"
            raise RequirementFailed(
                f"resize_position_embedding() returned shape {tuple(answer.shape)}, expected {letters} = {shape}"
            )
        return answer

    @cached_property
    def float32_inside(self) -> bool:
        """Whether a float64 model of the candidate's computes a step in float32."""
        case = self._in_its_batch(Case(self.within_reach(_PLAIN) if self._configs else _PLAIN, batch=2, seed=0))
        try:
            trial = Trial(self, case, {})
            self.call("load", trial.model, exercised_weights(case.config, self.conventions, case.seed))
            return rounds_to_float32(trial)
        except (NotSupported, RequirementFailed):
            return False

    @cached_property
    def resizes_rectangles(self) -> bool:
        """Whether position tables of a rectangular grid are resized at all; found by a probe, once.

        Where they are not, one requirement says so, and the others are judged on squares.
        """
        rows = 6 + int(self.conventions.class_token_has_position)
        try:
            self.resize(torch.zeros(1, rows, 8, dtype=torch.float64), (2, 3), (3, 4))
        except (NotSupported, CandidateRaised):
            return False
        return True

    @cached_property
    def _hybrids_of_three_channels(self) -> bool:
        """Whether it declares hybrids of another number of channels out of reach, where its plain models may have any."""
        try:
            self.call("build", as_hybrid(replace(_PLAIN, image_size=(2, 2), patch_size=(1, 1), channels=1)))
        except (NotSupported, CandidateRaised) as error:
            return isinstance(error, NotSupported)
        return False

    @cached_property
    def _simplifications(self) -> list[Callable[[ViTConfig], ViTConfig]]:
        """What has to be done to a case so that the candidate can build it; found by building probes, once."""
        fixed_mlp = self._declines(_PLAIN) and not self._declines(four_widths(_PLAIN))
        plain = four_widths(_PLAIN) if fixed_mlp else _PLAIN
        tall_patch = replace(plain, patch_size=(4, 2), image_size=(8, 4))
        wide_image = replace(plain, image_size=(8, 12))
        features: list[tuple[Callable[[ViTConfig], ViTConfig], Sequence[ViTConfig]]] = [
            (square_image, [wide_image]),
            (square_patch, [tall_patch]),
            (three_channels, [replace(plain, channels=n) for n in (1, 2, 4)]),
            (several_heads, [replace(plain, num_heads=1)]),
            (without_dropout, [replace(plain, dropout=0.3, attention_dropout=0.3)]),
        ]
        needed = [simplify for simplify, probes in features if not all(self._runs(probe) for probe in probes)]
        return [*needed, *([four_widths] if fixed_mlp else [])]  # last, since others change the width

    def _declines(self, config: ViTConfig) -> bool:
        """Whether the adapter says that it cannot build this; what breaks is another matter."""
        try:
            self.call("build", config)
        except NotSupported:
            return True
        except CandidateRaised:
            return False
        return False

    def _runs(self, config: ViTConfig) -> bool:
        """Whether a model of these sizes can be built, loaded and run; the feature's own requirement says why not."""
        case = Case(config, batch=1, seed=0)
        try:
            trial = Trial(self, case, {})
        except (NotSupported, RequirementFailed):
            return False
        try:
            self.call("load", trial.model, exercised_weights(config, self.conventions, case.seed))
            trial.logits()
        except RequirementFailed:
            return False
        except NotSupported:
            return not self.offers("load")
        return True

    def _moved(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            asked = argument.is_leaf and argument.requires_grad  # for its gradient, which flows back through the copy
            kept = argument if asked else argument.detach()
            return kept.to(self.device, copy=True, memory_format=torch.preserve_format)
        if isinstance(argument, Mapping):
            return {name: self._moved(value) for name, value in argument.items()}
        return argument


def _shown(text: object) -> str:
    """A name that fits on a line of a terminal and cannot steer it."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))[:_LONGEST_NAME]


_LONGEST_NAME = 80
