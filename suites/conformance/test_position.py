"""POS: position embeddings at another resolution (section 3.2)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from vitbench.assertions import (
    accept,
    assert_consistent,
    assert_equal,
    assert_holds,
    assert_same_bits,
    assert_semantics,
    assert_tensor,
)
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import (
    LARGE_SIDES,
    RAMP_SIDES,
    RECTANGULAR_GRIDS,
    Case,
    ResizeCase,
    equal_count_cases,
    random_images,
    resize_cases,
    vit_cases,
)
from vitbench.check import FEW, given, requirement
from vitbench.errors import NotSupported
from vitbench.evidence import current_evidence
from vitbench.probes import float32_resize_error, off_grid, on_grid, position_table
from vitbench.reference.config import ViTConfig
from vitbench.reference.positions import resize_position_embedding
from vitbench.resolution import Positions, assert_as_built, resized_in_each_call
from vitbench.trial import Trial

SOME = ((2, 3), (3, 2), (2, 2), (3, 3))


@requirement("VIT-POS-SIZE")
@given(case=resize_cases())
def test_a_resized_table_has_a_row_for_every_token(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    for side in LARGE_SIDES:
        new_grid = (side, case.new_grid[1]) if impl.resizes_rectangles else (side, side)
        rows = new_grid[0] * new_grid[1] + int(_class_row(impl))
        resized = impl.resize(_table(impl, case), case.grid, new_grid)
        what = f"table resized from {case.grid} to {new_grid}"
        assert_tensor(resized, (1, rows, case.width), torch.float64, what)


@requirement("VIT-POS-IDENTITY")
@given(case=resize_cases())
def test_the_same_grid_keeps_the_table(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    home = replace(case, new_grid=case.grid)
    table = _table(impl, home)
    _assert_resized(impl, impl.resize(table, home.grid, home.grid), table, "table resized to its own grid", 0.0)


@requirement("VIT-POS-CONSTANT")
@given(case=resize_cases())
def test_a_constant_table_stays_constant(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    rows = position_table((1, 1), case.width, case.seed, class_row=False)  # (1, 1, D)
    flat = rows.expand(1, case.grid[0] * case.grid[1] + int(_class_row(impl)), case.width)
    expected = rows.expand(1, case.new_grid[0] * case.new_grid[1] + int(_class_row(impl)), case.width)
    _assert_resized(
        impl, impl.resize(flat, case.grid, case.new_grid), expected, "constant table", _float32_error(impl, flat, case)
    )


@requirement("VIT-POS-CLASS-ROW")
@given(case=resize_cases())
def test_the_class_row_is_carried_over_and_stays_apart(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    table, patches = _table(impl, case), case.new_grid[0] * case.new_grid[1]
    resized = impl.resize(table, case.grid, case.new_grid)
    if not _class_row(impl):
        assert_tensor(resized, (1, patches, case.width), torch.float64, "resized table without a class row")
        return
    altered = torch.cat([table[:, :1] + 7, table[:, 1:]], dim=1)
    again = impl.resize(altered, case.grid, case.new_grid)
    assert_same_bits(resized[:, :1], table[:, :1], "class row")
    assert_same_bits(again[:, 1:], resized[:, 1:], "patches' rows after a change of the class row")


@requirement("VIT-POS-RESIZE")
@given(case=resize_cases())
def test_a_table_is_resized_in_two_dimensions(impl: Candidate, case: ResizeCase) -> None:
    _assert_resized_as_declared(impl, _reached(impl, case))


@requirement("VIT-POS-RECTANGULAR")
@given(case=resize_cases(sources=RECTANGULAR_GRIDS))
def test_grids_need_not_be_square(impl: Candidate, case: ResizeCase) -> None:
    _assert_resized_as_declared(impl, case)


@requirement("VIT-POS-EQUAL-COUNT")
@given(case=equal_count_cases())
def test_an_equal_number_of_patches_is_no_reason_to_keep_the_table(impl: Candidate, case: ResizeCase) -> None:
    _assert_resized_as_declared(impl, case)


@requirement("VIT-POS-SWEEP")
@given(case=resize_cases(), examples={"quick": 2, "standard": 10, "full": 50})  # of 64 sizes each
def test_every_size_is_reached(impl: Candidate, case: ResizeCase) -> None:
    reached = _reached(impl, case)
    rectangles = ((side, 65 - side) for side in range(1, 65))
    squares = ((side, side) for side in range(2, 65))
    for new_grid in ((1, 1), *(rectangles if impl.resizes_rectangles else squares)):
        _assert_resized_as_declared(impl, replace(reached, new_grid=new_grid))


@requirement("VIT-POS-ORIENTATION")
@given(case=resize_cases())
def test_rows_stay_rows_and_columns_columns(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    for axis in (0, 1):
        if 1 in (case.grid[axis], case.new_grid[axis]):
            accept("a single row or column has no direction")
            continue
        resized, error = _resized_ramp(impl, case, axis)
        along = resized.movedim(axis, 0)  # (new side, the other new side, D)
        what = "positions that differ along one axis alone, along the other one after resizing"
        assert_consistent(along, along[:, :1].expand_as(along), what, float32_error=error, witness=resized)
        rise = (along[-1] - along[0]).min().item()
        assert_holds(rise > 0, f"positions that rise along axis {axis} rise by {rise:.3g} after resizing")


@requirement("VIT-POS-RAMP")
@given(sides=st.sampled_from(RAMP_SIDES), width=st.sampled_from((3, 8)), examples=FEW)
def test_a_ramp_stays_a_ramp(impl: Candidate, sides: tuple[int, int], width: int) -> None:
    case = ResizeCase((sides[0], sides[0]), (sides[1], sides[1]), width, seed=0)
    corners = impl.conventions.position_resize.endswith("corners")
    last = sides[0] - 1
    for axis in (0, 1):
        resized, error = _resized_ramp(impl, case, axis)
        step = last / (sides[1] - 1) if corners else sides[0] / sides[1]
        start = 0.0 if corners else (step - 1) / 2
        ideal = _HIGHEST * (start + step * torch.arange(sides[1], dtype=torch.float64)) / last  # (new side)
        rises = _kept_by_the_reference(impl, case, axis, ideal)  # the declared kernel bends at the border, or between
        found = resized.movedim(axis, 0)[rises]  # (new rows that lie on the ramp, the other new side, D)
        expected = ideal[rises][:, None, None].expand(found.shape)
        what = "resized ramp, where the declared kernel keeps it straight"
        assert_semantics(found, expected, what, float32_error=error, witness=resized)


@requirement("VIT-POS-MIRROR")
@given(case=resize_cases(smallest_side=2))  # with aligned corners, a single row or column is the first corner's
def test_resizing_commutes_with_mirroring(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    for mirrored in (torch.flipud, lambda grid: grid.flip(1)):
        _assert_commutes(impl, case, mirrored, case.grid, case.new_grid)


@requirement("VIT-POS-TRANSPOSE")
@given(case=resize_cases())
def test_resizing_commutes_with_exchanging_rows_and_columns(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    (rows, columns), (new_rows, new_columns) = case.grid, case.new_grid
    _assert_commutes(impl, case, lambda grid: grid.transpose(0, 1), (columns, rows), (new_columns, new_rows))


@requirement("VIT-POS-DTYPE")
@given(case=resize_cases())
def test_a_resized_table_keeps_its_dtype(impl: Candidate, case: ResizeCase) -> None:
    _assert_dtype_kept(impl, case, (torch.float32, torch.float64))


@requirement("VIT-POS-HALF")
@given(case=resize_cases())
def test_a_half_precision_table_is_resized_too(impl: Candidate, case: ResizeCase) -> None:
    _assert_dtype_kept(impl, case, (torch.bfloat16, torch.float16))


@requirement("VIT-POS-GRADIENT")
@given(case=resize_cases())
def test_the_gradient_of_a_resized_table_reaches_the_table(impl: Candidate, case: ResizeCase) -> None:
    case = _reached(impl, case)
    table, kind = _table(impl, case), impl.conventions.position_resize

    def by_candidate(leaf: Tensor) -> Tensor:
        resized = impl.adapter.resize_position_embedding(leaf, case.grid, case.new_grid)
        if not isinstance(resized, Tensor) or not resized.requires_grad:
            raise NotSupported("resize_position_embedding() returns no tensor with a gradient")
        return resized

    def by_reference(leaf: Tensor) -> Tensor:
        return resize_position_embedding(leaf, case.grid, case.new_grid, kind, class_row=_class_row(impl))

    found = impl.guarded("resize_position_embedding", lambda: _gradient(by_candidate, table, case.seed), grad=True)
    expected = _gradient(by_reference, table, case.seed)
    error = (_gradient(by_reference, table.float(), case.seed).double() - expected).abs().max().item()
    _assert_resized(impl, found, expected, "gradient of the table", error)


@requirement("VIT-POS-MODEL")
@given(case=st.one_of(vit_cases(grids=SOME), vit_cases(grids=SOME, pool="mean", head="mlp")), examples=FEW)
def test_a_model_runs_at_another_resolution(impl: Candidate, case: Case) -> None:
    trial = impl.trial(impl.with_every_rate(impl.with_head_and_pool(case)), exactly=True)
    before, at_home = trial.logits(), trial.weights["position_embedding"]
    model, kept, grid = trial, at_home, trial.config.grid
    others = _other_sizes(impl, trial.config)
    if not others:
        raise NotSupported("has models of a single image size")
    for other in others:
        resized = model.at_image_size(other.image_size)
        what = f"at {other.image_size[0]}×{other.image_size[1]}, against a model built for that size"
        shown = resized.export().get("position_embedding") if impl.offers("export") else None
        rows = other.num_patches + int(_class_row(impl))
        if shown is None or shown.shape[1] != rows or torch.equal(shown, at_home):
            assert_as_built(resized, other, resized_in_each_call(trial, other), what)
            continue
        _assert_resized_from_one(impl, shown, other.grid, [(kept, grid), (at_home, trial.config.grid)])
        assert_as_built(resized, other, Positions(table=shown), what)
        model, kept, grid = resized, shown, other.grid  # and on from there
    assert_same_bits(trial.logits(), before, "logits of the model that was to stay as it was")
    _assert_half_precision_stays(impl, trial, others[-1])


def _other_sizes(impl: Candidate, config: ViTConfig) -> list[ViTConfig]:
    """As many patches in another shape, then more, then fewer; squares for candidates that take no others."""
    rows, columns = config.grid
    patch_h, patch_w = config.patch_size
    same_count = (columns, rows) if rows != columns else (1, rows * columns)
    others: list[ViTConfig] = []
    for grid in (same_count, (4 * rows, columns + 1), (max(rows - 1, 1), columns)):
        other = impl.within_reach(replace(config, image_size=(grid[0] * patch_h, grid[1] * patch_w)))
        if other.grid not in (config.grid, *(o.grid for o in others)):
            others.append(other)
    return others


def _assert_half_precision_stays(impl: Candidate, trial: Trial, other: ViTConfig) -> None:
    """No parameter of a bfloat16 model gets another dtype with another size: it would break, or promote, the model."""
    try:
        half = impl.trial(trial.case, exactly=True, dtype=torch.bfloat16)
        before, after = half.module, half.at_image_size(other.image_size).module
    except (NotSupported, CandidateRaised):
        return  # VIT-POS-HALF tells
    kept, found = ({t.dtype for t in m.parameters() if t.is_floating_point()} for m in (before, after))
    assert_equal(sorted(map(str, found - kept)), [], f"dtypes of parameters that {other.image_size} brings to bfloat16")


def _assert_resized_from_one(
    impl: Candidate, shown: Tensor, new_grid: tuple[int, int], sources: Sequence[tuple[Tensor, tuple[int, int]]]
) -> None:
    """A model that is resized for the second time may start from its last table, or from its first."""
    kind, class_row = impl.conventions.position_resize, _class_row(impl)
    right = [
        (resize_position_embedding(table, grid, new_grid, kind, class_row=class_row), table, grid)
        for table, grid in sources
    ]
    expected, table, grid = min(right, key=lambda found: (shown - found[0]).abs().max().item())
    error = float32_resize_error(table, grid, new_grid, kind, class_row=class_row)
    _assert_resized(impl, shown, expected, "position table of the resized model", error)


_HIGHEST = 0.7390851332151607  # of a ramp: a number that float32 does not hold
_ROUNDING = 1e-12


def _gradient(resize: Callable[[Tensor], Tensor], table: Tensor, seed: int) -> Tensor:
    """How a fixed weighting of the resized table changes with the table. Shapes: (1, N+1, D) -> (1, N+1, D)."""
    leaf = table.clone().requires_grad_()
    with torch.enable_grad():
        resized = resize(leaf)
        (gradient,) = torch.autograd.grad(resized, leaf, random_images(resized.shape, seed + 1, resized.dtype))
    return gradient


def _ramp(impl: Candidate, case: ResizeCase, axis: int) -> Tensor:
    """Positions that rise evenly from 0 along one axis and are zero for the class token. -> (1, N+1, D)."""
    sides = (*case.grid, 1)
    rising = torch.linspace(0, _HIGHEST, sides[axis], dtype=torch.float64).unflatten(
        0, [-1 if i == axis else 1 for i in range(3)]
    )
    table = torch.zeros_like(_table(impl, case))
    return off_grid(rising.expand(*case.grid, case.width), table, class_row=_class_row(impl))


def _resized_ramp(impl: Candidate, case: ResizeCase, axis: int) -> tuple[Tensor, float]:
    """The ramp as the candidate resizes it, on its new grid, and what float32 costs. -> (rows, columns, D), error."""
    ramp = _ramp(impl, case, axis)
    resized = impl.resize(ramp, case.grid, case.new_grid)
    error = _float32_error(impl, ramp, case) + torch.finfo(torch.float32).eps
    return on_grid(resized, case.new_grid, class_row=_class_row(impl)), error


def _kept_by_the_reference(impl: Candidate, case: ResizeCase, axis: int, ideal: Tensor) -> Tensor:
    """Where along the axis the declared kernel keeps a ramp exactly straight. -> (new side) of bool."""
    kind, ramp = impl.conventions.position_resize, _ramp(impl, case, axis)
    resized = resize_position_embedding(ramp, case.grid, case.new_grid, kind, class_row=_class_row(impl))
    along = on_grid(resized, case.new_grid, class_row=_class_row(impl)).movedim(axis, 0)[:, 0, 0]
    return (along - ideal).abs() < _ROUNDING


def _reached(impl: Candidate, case: ResizeCase) -> ResizeCase:
    reached = case if impl.resizes_rectangles else case.squared()
    current_evidence().ran(reached)
    return reached


def _assert_dtype_kept(impl: Candidate, case: ResizeCase, dtypes: Sequence[torch.dtype]) -> None:
    """The dtype stays, and the values are right as far as it can hold them."""
    case = _reached(impl, case)
    for dtype in dtypes:
        what = f"table resized in {str(dtype).removeprefix('torch.')}"
        table, kind = _table(impl, case).to(dtype), impl.conventions.position_resize
        resized = impl.resize(table, case.grid, case.new_grid)
        expected = resize_position_embedding(table.double(), case.grid, case.new_grid, kind, class_row=_class_row(impl))
        assert_tensor(resized, expected.shape, dtype, what)
        ulp = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)  # float64 is judged by the other requirements
        coordinates = _FLOAT32_FACTOR * _float32_error(impl, table.double(), case)  # of large grids, in float32
        error, bound = (resized.double() - expected).abs().max(), _ULPS * ulp * expected.abs().max() + coordinates
        assert_holds(bool(error <= bound), f"{what} as {kind}: an error of {error:.3g}, allowed {bound:.3g}")


_FLOAT32_FACTOR = 4  # the reference's own error is one draw
_ULPS = 16  # a bicubic kernel sums sixteen products, each rounded


def _class_row(impl: Candidate) -> bool:
    return impl.conventions.class_token_has_position


def _table(impl: Candidate, case: ResizeCase) -> Tensor:
    return position_table(case.grid, case.width, case.seed, class_row=_class_row(impl))


def _float32_error(impl: Candidate, table: Tensor, case: ResizeCase) -> float:
    kind = impl.conventions.position_resize
    return float32_resize_error(table, case.grid, case.new_grid, kind, class_row=_class_row(impl))


def _assert_resized_as_declared(impl: Candidate, case: ResizeCase) -> None:
    table, kind = _table(impl, case), impl.conventions.position_resize
    expected = resize_position_embedding(table, case.grid, case.new_grid, kind, class_row=_class_row(impl))
    resized = impl.resize(table, case.grid, case.new_grid)
    _assert_resized(impl, resized, expected, f"table resized as {kind}", _float32_error(impl, table, case))


def _assert_commutes(
    impl: Candidate,
    case: ResizeCase,
    turn: Callable[[Tensor], Tensor],
    turned_grid: tuple[int, int],
    turned_new_grid: tuple[int, int],
) -> None:
    """Resizing a turned table gives the turned resized table."""
    table, class_row = _table(impl, case), _class_row(impl)
    turned = off_grid(turn(on_grid(table, case.grid, class_row=class_row)), table, class_row=class_row)
    resized = impl.resize(table, case.grid, case.new_grid)
    assert_tensor(
        resized, (1, case.new_grid[0] * case.new_grid[1] + int(class_row), case.width), torch.float64, "resized table"
    )
    expected = off_grid(turn(on_grid(resized, case.new_grid, class_row=class_row)), resized, class_row=class_row)
    actual = impl.resize(turned, turned_grid, turned_new_grid)
    error = 2 * _float32_error(impl, table, case)  # both sides may carry it
    witness = _patch_rows(impl, actual)
    assert_consistent(actual, expected, "resized turned table", float32_error=error, witness=witness)


def _assert_resized(impl: Candidate, actual: Tensor, expected: Tensor, what: str, float32_error: float) -> None:
    """Tier S; packages that interpolate in float32 are judged by what that costs, as the patches' rows show."""
    assert_semantics(actual, expected, what, float32_error=float32_error, witness=_patch_rows(impl, actual))


def _patch_rows(impl: Candidate, table: Tensor) -> Tensor:
    return table[:, int(_class_row(impl)) :]
