"""PATCH: the image becomes N = HW / P² tokens (Eq. 1)."""

from dataclasses import replace

import torch
from torch import Tensor

from vitbench.assertions import (
    accept,
    assert_changed,
    assert_consistent,
    assert_holds,
    assert_semantics,
    assert_tensor,
    moved,
)
from vitbench.candidate import Candidate, CandidateRaised
from vitbench.cases import LARGE_PATCHES, Case, random_images, vit_cases
from vitbench.check import given, requirement
from vitbench.errors import NotSupported, RequirementFailed
from vitbench.probes import (
    one_patch_changed_each,
    reorder_channels,
    roughened,
    transposed_config,
    transposed_weights,
)
from vitbench.trial import Trial


@requirement("VIT-PATCH-COUNT")
@given(case=vit_cases())
def test_an_image_becomes_one_token_per_patch(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    config = trial.config
    patch_h, patch_w = config.patch_size
    patches = config.image_size[0] * config.image_size[1] // (patch_h * patch_w)  # N = HW / P²
    assert_tensor(trial.patch_tokens(), (trial.case.batch, patches, config.width), torch.float64, "patch tokens")


@requirement("VIT-PATCH-PROJECTION")
@given(case=vit_cases())
def test_patch_tokens_are_the_projected_patches(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    assert_semantics(trial.patch_tokens(), trial.reference.patch_tokens, "patch tokens")


@requirement("VIT-PATCH-IMPULSE")
@given(case=vit_cases())
def test_a_lit_pixel_reads_out_its_weights(impl: Candidate, case: Case) -> None:
    if impl.conventions.patch_embedding != "linear":
        raise NotSupported(f"declares patch_embedding = {impl.conventions.patch_embedding}, which is not linear")
    trial = impl.trial(case)
    kernel = trial.weights["patch_embedding.weight"].flatten(1).T  # (C P_h P_w, D)
    pixels = torch.eye(len(kernel), dtype=torch.float64).unflatten(1, (trial.config.channels, *trial.config.patch_size))
    lit = pixels.repeat(1, 1, *trial.config.grid)  # one image a pixel, lit in every patch: (C P_h P_w, C, H, W)
    read = trial.patch_tokens(lit) - trial.patch_tokens(torch.zeros_like(lit))
    assert_consistent(read, kernel[:, None].expand_as(read), "what one lit pixel adds, (C P_h P_w, N, D)")


@requirement("VIT-PATCH-LINEAR")
@given(case=vit_cases())
def test_the_patch_embedding_is_affine(impl: Candidate, case: Case) -> None:
    if impl.conventions.patch_embedding != "linear":
        raise NotSupported(f"declares patch_embedding = {impl.conventions.patch_embedding}, which is not linear")
    trial = impl.trial(case)
    other = random_images(trial.images.shape, case.seed + 1)
    mixed = trial.patch_tokens(0.3 * trial.images + 0.7 * other)
    expected = 0.3 * trial.patch_tokens() + 0.7 * trial.patch_tokens(other)
    assert_consistent(mixed, expected, "patch tokens of a weighted mean of images")


@requirement("VIT-PATCH-LOCALITY")
@given(case=vit_cases())
def test_a_change_within_a_patch_changes_its_token_only(impl: Candidate, case: Case) -> None:
    changed = _tokens_changed_by_each_patch(impl.trial(case))  # (N, N)
    touched = changed.sum(dim=1)
    worst = int((touched - 1).abs().argmax())
    assert_holds(
        bool((touched == 1).all() and (changed.sum(dim=0) == 1).all()),
        f"a change within patch {worst} changes {int(touched[worst])} of {len(touched)} patch tokens, expected one of its own",
    )


@requirement("VIT-PATCH-RASTER")
@given(case=vit_cases())
def test_patch_tokens_are_in_raster_order(impl: Candidate, case: Case) -> None:
    changed = _tokens_changed_by_each_patch(impl.trial(case))
    found = [int(row.float().argmax()) for row in changed]
    assert_holds(
        bool(changed.diagonal().all()), f"the patches in raster order show in tokens {found}, expected 0, 1, 2, …"
    )


@requirement("VIT-PATCH-INDIVISIBLE")
@given(case=vit_cases(patches=LARGE_PATCHES))
def test_an_image_that_the_patches_do_not_divide_is_not_cropped(impl: Candidate, case: Case) -> None:
    trial = impl.trial(case)
    height, width = trial.config.image_size
    for image_size in ((height + 1, width), (height, width + 1)):
        _assert_refused_or_padded(trial, image_size, "a model of the divisible size")
        try:
            resized = trial.at_image_size(image_size)
        except (NotSupported, CandidateRaised):
            continue
        _assert_refused_or_padded(resized, image_size, "at_image_size()")


@requirement("VIT-PATCH-CHANNELS")
@given(case=vit_cases())
def test_any_number_of_channels_is_accepted(impl: Candidate, case: Case) -> None:
    reached, channels = impl.within_reach(case.config), case.config.channels
    trial = impl.trial(replace(case, config=replace(reached, channels=channels)), exactly=True)
    before, changed = trial.logits(), trial.images.clone()
    for c in range(channels):
        changed[:, c] = roughened(trial.images)[:, c]
        assert_changed(trial.logits(changed), before, f"logits after a change of channel {c} of {channels}")
    order = list(reversed(range(channels)))
    turned = trial.with_weights(reorder_channels(trial.weights, channels, order))
    assert_consistent(
        turned.logits(trial.images[:, order]), before, "logits with channels and weights in another order"
    )
    for others in {1, channels + 1} - {channels}:
        _assert_refused(trial, trial.images[:, :1].repeat(1, others, 1, 1))


@requirement("VIT-PATCH-IMAGE-RECTANGULAR")
@given(case=vit_cases(grids=((2, 3), (3, 2), (1, 4), (5, 2))))
def test_rectangular_images_are_accepted(impl: Candidate, case: Case) -> None:
    reached = impl.within_reach(case.config)
    (rows, columns), side = case.config.grid, reached.patch_size[0]
    rectangular = replace(reached, patch_size=(side, side), image_size=(rows * side, columns * side))
    _assert_alike_on_its_side(impl, replace(case, config=rectangular))


@requirement("VIT-PATCH-SHAPE-RECTANGULAR")
@given(case=vit_cases(patches=((2, 3), (3, 2), (1, 4), (5, 3))))
def test_rectangular_patches_are_accepted(impl: Candidate, case: Case) -> None:
    reached = impl.within_reach(case.config)
    grid, patch = reached.grid, case.config.patch_size
    rectangular = replace(reached, patch_size=patch, image_size=(grid[0] * patch[0], grid[1] * patch[1]))
    _assert_alike_on_its_side(impl, replace(case, config=rectangular))


def _assert_alike_on_its_side(impl: Candidate, case: Case) -> None:
    """A model for images on their side, with its weights turned likewise, gives the same logits."""
    trial = impl.trial(case, exactly=True)
    weights = transposed_weights(trial.weights, case.config, class_row=impl.conventions.class_token_has_position)
    turned = impl.trial(replace(case, config=transposed_config(case.config)), weights, exactly=True)
    actual = turned.logits(trial.images.transpose(2, 3).contiguous())
    assert_consistent(actual, trial.logits(), "logits of images and model turned on their side")


def _tokens_changed_by_each_patch(trial: Trial) -> Tensor:
    """Row n says which patch tokens a change of patch n changes. -> (N, N) of bool."""
    image = trial.images[:1]
    before = trial.patch_tokens(image)  # (1, N, D)
    after = trial.patch_tokens(one_patch_changed_each(image[0], trial.config))  # (N, N, D)
    expected = (trial.config.num_patches, trial.config.num_patches, trial.config.width)
    assert_tensor(after, expected, torch.float64, "patch tokens")
    assert_changed(after, before, "patch tokens after a change of every patch")
    return moved(after, before)


def _assert_refused(trial: Trial, images: Tensor) -> None:
    """Images of another number of channels: which of them are meant, or what the others are, is not known."""
    try:
        trial.logits(images)
    except (CandidateRaised, NotSupported):
        accept("refused, as it should be")
        return
    raise RequirementFailed(
        f"images of {images.shape[1]} channels: accepted silently by a model of {trial.config.channels}; raise an error, "
        "or leave cutting and repeating channels to the caller"
    )


def _assert_refused_or_padded(trial: Trial, image_size: tuple[int, int], route: str) -> None:
    """An image with one pixel too many in a row or column: refused, or its last pixels count and that is declared."""
    height, width = trial.config.image_size
    images = random_images((trial.case.batch, trial.config.channels, *image_size), trial.case.seed)
    altered = images.clone()
    altered[:, :, height:], altered[:, :, :, width:] = 5.0, 5.0
    try:
        before, after = trial.logits(images), trial.logits(altered)
    except (CandidateRaised, NotSupported):
        accept("refused, as it must be")
        return
    size = f"{image_size[0]}×{image_size[1]} image, patch {trial.config.patch_size[0]}×{trial.config.patch_size[1]} ({route})"
    if torch.equal(before, after):
        raise RequirementFailed(
            f"{size}: silently cropped: the last pixels change nothing, and no error is raised; compare the image's size with the model's before it is cut into patches"
        )
    assert_holds(
        trial.conventions.invalid_size == "pad",
        f"{size}: accepted, though the conventions declare invalid_size = error",
    )
