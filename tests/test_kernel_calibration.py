"""The checks of a kernel can tell: each is missed by a kernel with one defect, and by no correct one."""

import pytest
from checks import CHECKS, judged

from vitbench.benign.kernels import BENIGN
from vitbench.check import configured, judge
from vitbench.deviations import KERNEL_BANK
from vitbench.kernel import Kernel
from vitbench.reference.attention import attention
from vitbench.requirement import Status
from vitbench.specification import requirements

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = list(requirements("kernel"))


def failed(kernel: Kernel) -> set[str]:
    return {id_.removeprefix("VIT-KERNEL-") for id_ in IDS if judged(id_, kernel).status is not Status.PASSED}


@pytest.mark.parametrize("name", BENIGN)
def test_a_correct_kernel_meets_every_requirement(name: str) -> None:
    outcomes = {id_: judged(id_, Kernel(BENIGN[name], name)) for id_ in IDS}
    assert {id_: j.reason for id_, j in outcomes.items() if j.status is not Status.PASSED} == {}


@pytest.mark.parametrize("seed", range(1, 4))
def test_the_reference_meets_every_requirement_at_other_seeds(seed: int) -> None:
    kernel = Kernel(attention, "reference")
    outcomes = [judge(configured(CHECKS[id_], "quick", seed), kernel) for id_ in IDS]
    assert [(j.requirement.id, j.reason) for j in outcomes if j.status is not Status.PASSED] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kernel-whole-blocks", {"LENGTH"}),
        ("kernel-padding", {"LENGTH"}),
        ("kernel-scale-of-64", {"HEAD-DIM", "ODD-HEAD-DIM"}),
        ("kernel-features-of-16", {"ODD-HEAD-DIM"}),
        ("kernel-contiguous", {"FUSED-QKV", "STRIDES"}),
        ("kernel-neighbours", {"STRIDES"}),
        ("kernel-no-maximum", {"EXTREME"}),
        ("kernel-half-widened", {"SHAPE"}),
        ("kernel-sums-in-half", {"HALF"}),
        ("kernel-no-value-gradient", {"GRADIENTS"}),
        ("kernel-order-by-chance", {"REPEATABLE"}),
    ],
)
def test_a_defect_fails_what_is_about_it_and_nothing_else(name: str, expected: set[str]) -> None:
    assert failed(Kernel(KERNEL_BANK[name].kernel, name)) == expected
