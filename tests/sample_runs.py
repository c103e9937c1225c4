"""Results as a run of five implementations would write them, for tests of the report and to look at one.

``python tests/sample_runs.py FOLDER`` writes the samples there.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from sample_studies import hostile_study, studies
from sample_traces import hostile_trace, traces

from vitbench.diagnosis.record import Cause, Diagnosis
from vitbench.records import (
    Footer,
    Header,
    MeasurementRecord,
    Outcome,
    Ran,
    Record,
    RequirementRecord,
    VerdictRecord,
)
from vitbench.requirement import Level, Status, tally, verdict
from vitbench.results import ResultsWriter, Run, read

REQUIREMENTS = (
    ("VIT-PATCH-COUNT", "MUST", "An image of H x W pixels must become N = HW / (P_h P_w) patch tokens of width D."),
    ("VIT-PATCH-PROJECTION", "MUST", "Patch tokens must be the declared projection of each flattened patch: x_p E + b."),
    ("VIT-PATCH-LINEAR", "MUST", "The patch embedding must be an affine map of the pixels: it keeps weighted means of images."),
    ("VIT-PATCH-LOCALITY", "MUST", "A change within one patch must change that patch's token and no other."),
    ("VIT-PATCH-RASTER", "MUST", "Patch tokens must be in raster order: left to right within a row, rows from top to bottom."),
    ("VIT-PATCH-INDIVISIBLE", "MUST", "An image that the patches do not divide must be refused, or padded where that is declared; never cropped."),
    ("VIT-PATCH-CHANNELS", "SHOULD", "A model should accept any number of image channels C."),
    ("VIT-PATCH-IMAGE-RECTANGULAR", "SHOULD", "A model should accept images of any height and width that the patch size divides."),
    ("VIT-PATCH-SHAPE-RECTANGULAR", "MAY", "A model may have patches whose height and width differ."),
    ("VIT-TOKEN-LENGTH", "MUST", "The encoder must receive N + 1 tokens of width D: the class token and the N patches."),
    ("VIT-TOKEN-CLASS-FIRST", "MUST", "Token 0 must be the class token: it does not depend on the image, and every other token does."),
    ("VIT-TOKEN-CLASS-EXPANDED", "MUST", "Every image of a batch must receive the same class token."),
    ("VIT-TOKEN-POSITION", "MUST", "Each token must have its own position embedding added exactly once."),
    ("VIT-TOKEN-ORDER", "MUST", "The logits must depend on the order of the patches through the position embeddings."),
    ("VIT-BLOCK-DEPTH", "MUST", "The encoder must consist of L blocks, each of which takes part in the forward pass."),
    ("VIT-BLOCK-PRENORM", "MUST", "Each block must compute z' = MSA(LN(z)) + z and MLP(LN(z')) + z' from the tokens it receives."),
    ("VIT-BLOCK-RESIDUAL", "MUST", "A block whose two output projections are zero must return its tokens unchanged."),
    ("VIT-BLOCK-EQUIVARIANT", "MUST", "Without position embeddings, a permutation of the patches must leave the class token's logits unchanged."),
    ("VIT-ATTN-ROWS", "MUST", "Attention weights must be non-negative and each query's must sum to one over the keys."),
    ("VIT-ATTN-SCALE", "MUST", "Attention weights must be softmax(q k^T / sqrt(D_h)), with D_h the width of one head."),
    ("VIT-ATTN-UNIFORM", "MUST", "With query weights of zero, every token must receive the same mean of all values."),
    ("VIT-ATTN-HEADS", "MUST", "Permuting the heads in all four projections must leave the logits unchanged."),
    ("VIT-ATTN-SEPARATE-HEADS", "MUST", "A model of several heads must attend with each head on its own D_h features."),
    ("VIT-ATTN-KEY-BIAS", "SHOULD", "The key bias should not change the logits."),
    ("VIT-MLP-ACTIVATION", "MUST", "The MLP's non-linearity must be the declared form of GELU."),
    ("VIT-MLP-TOKENWISE", "MUST", "The MLP must treat each token by itself."),
    ("VIT-MLP-WIDTH", "MUST", "The MLP must have exactly the configured number of hidden units, and each must take part."),
    ("VIT-NORM-EPSILON", "MUST", "LayerNorm must use the declared epsilon, also where the variance is as small as epsilon."),
    ("VIT-NORM-FINAL", "MUST", "The representation must be taken through one more LayerNorm, with its own gain and bias."),
    ("VIT-NORM-SHIFT", "MUST", "Adding one constant to all features of the tokens must not change what the branches compute."),
    ("VIT-HEAD-LOGITS", "MUST", "The logits must equal the paper's model from pixels to class scores, for the same weights."),
    ("VIT-HEAD-LINEAR", "MUST", "The fine-tuning head must be one linear layer on the representation."),
    ("VIT-HEAD-CLASS-TOKEN", "MUST", "The logits must be read from the class token alone: where it cannot see the image, neither can they."),
    ("VIT-HEAD-MEAN", "MAY", "A model may pool by the mean of the patch tokens, without the class token."),
    ("VIT-HEAD-HIDDEN", "SHOULD", "A pre-training head should be available: an MLP with one hidden layer of width D."),
    ("VIT-HEAD-INIT", "SHOULD", "A fresh fine-tuning head should start as declared: at zero in the paper."),
    ("VIT-POS-SIZE", "MUST", "A resized table must have one row for the class token and one for each new patch."),
    ("VIT-POS-IDENTITY", "MUST", "Resizing to the same grid must return the same table."),
    ("VIT-POS-CONSTANT", "MUST", "A table that is the same everywhere must stay so at any size."),
    ("VIT-POS-CLASS-ROW", "MUST", "The class token's row must be carried over untouched, and must not leak into the patches' rows."),
    ("VIT-POS-RESIZE", "MUST", "A table must be resized in two dimensions with the declared kernel, for any grids."),
    ("VIT-POS-EQUAL-COUNT", "MUST", "A grid of the same number of patches in another shape must be resized like any other."),
    ("VIT-POS-MIRROR", "MUST", "Resizing must commute with mirroring the grid, left to right and top to bottom."),
    ("VIT-POS-TRANSPOSE", "MUST", "Resizing must commute with exchanging rows and columns."),
    ("VIT-POS-DTYPE", "MUST", "A resized table must keep the dtype of the given one."),
    ("VIT-POS-MODEL", "SHOULD", "A model should run at another resolution with its positions resized, and all other weights kept."),
    ("VIT-PURE-REPEATABLE", "MUST", "The same images must give the same bits twice in evaluation mode."),
    ("VIT-PURE-BATCH", "MUST", "An image's logits must not depend on which other images are in the batch."),
    ("VIT-PURE-INPUT", "MUST", "A forward pass must not change the images it is given."),
    ("VIT-PURE-WEIGHTS", "MUST", "A forward pass in evaluation mode must not change the weights."),
    ("VIT-PURE-GLOBAL", "MUST", "Building and running a model must not change torch's global settings, and running not its random state."),
    ("VIT-PURE-LAYOUT", "MUST", "Images that are not contiguous, or in channels-last layout, must give the same logits."),
    ("VIT-STATE-ROUND-TRIP", "MUST", "Canonical weights that were loaded must be exported again, every name, shape and bit."),
    ("VIT-CONFIG-PARAMETERS", "MUST", "A model must have exactly the parameters that its configuration implies, by name and shape."),
    ("VIT-CONFIG-IMAGE-SIZE", "MUST", "Images of another size than the configured one must be refused, unless the positions are resized."),
)  # fmt: skip

VERSIONS = {
    "reference": "0.1.0",
    "timm": "1.0.31",
    "torchvision": "0.29.1",
    "transformers": "5.23.0",
    "vit_pytorch": "1.26.0",
}

EXAMPLE = """ViTConfig(image_size=(16, 64), patch_size=(8, 8), channels=3, width=24, depth=1, num_heads=3, mlp_dim=48,
          num_classes=5), batch=1, seed=0
position table (1, 17, 24): grid 2 x 8 to grid 4 x 4"""

# What is not plainly passed: implementation -> requirement -> (status, worst margin, reason).
OUTCOMES: Mapping[str, Mapping[str, tuple[Status, float | None, str]]] = {
    "reference": {},
    "timm": {
        "VIT-POS-EQUAL-COUNT": (
            Status.FAILED,
            3.1e9,
            "resize_position_embedding() returned the table unchanged for grid (2, 8) -> (4, 4): max|Δ| = 0.31, "
            "allowed 1.0e-10 (max|ref| = 1.02). Differs at 14 of 17 rows; the class token's row is right.",
        ),
        "VIT-POS-TRANSPOSE": (
            Status.FAILED,
            2.4e9,
            "resizing and exchanging rows and columns do not commute for grid (2, 8) -> (8, 2): max|Δ| = 0.24",
        ),
        "VIT-HEAD-HIDDEN": (Status.NOT_OFFERED, None, "timm's VisionTransformer has no hidden layer before its head"),
        "VIT-HEAD-INIT": (Status.FAILED, None, "declared head_init 'zero', found a truncated normal of std 0.02"),
    },
    "torchvision": {
        "VIT-PATCH-CHANNELS": (Status.NOT_OFFERED, None, "three channels only"),
        "VIT-PATCH-IMAGE-RECTANGULAR": (Status.NOT_OFFERED, None, "square images only"),
        "VIT-PATCH-SHAPE-RECTANGULAR": (Status.NOT_OFFERED, None, "square patches only"),
        "VIT-HEAD-MEAN": (Status.NOT_OFFERED, None, "pools by the class token only"),
        "VIT-POS-MODEL": (Status.NOT_OFFERED, None, "exact image size only"),
    },
    "transformers": {
        "VIT-PATCH-INDIVISIBLE": (
            Status.KNOWN_FAILURE,
            None,
            "an image of 36 x 39 pixels with patches of 8 x 8 was accepted and cropped to 32 x 32 "
            "(known: https://example.org/transformers/issues/1, since 5.20)",
        ),
        "VIT-NORM-EPSILON": (Status.FAILED, 87.5, "LayerNorm's epsilon is 1e-12, declared 1e-6: max|Δ| = 8.75e-9"),
        "VIT-HEAD-HIDDEN": (Status.NOT_OFFERED, None, "no hidden layer before the head"),
        "VIT-HEAD-MEAN": (Status.NOT_OFFERED, None, "pools by the class token only"),
        "VIT-PATCH-SHAPE-RECTANGULAR": (Status.ERROR, None, "the check's own reference ran out of memory at batch 3"),
    },
    "vit_pytorch": {
        "VIT-PATCH-PROJECTION": (Status.NOT_OFFERED, None, "patches are normalised before and after the projection"),
        "VIT-ATTN-ROWS": (Status.NOT_OFFERED, None, "adapter offers no attention()"),
        "VIT-ATTN-SCALE": (Status.NOT_OFFERED, None, "adapter offers no attention()"),
        "VIT-POS-SIZE": (Status.NOT_OFFERED, None, "adapter offers no resize_position_embedding()"),
        "VIT-POS-RESIZE": (Status.NOT_OFFERED, None, "adapter offers no resize_position_embedding()"),
        "VIT-POS-EQUAL-COUNT": (Status.NOT_OFFERED, None, "adapter offers no resize_position_embedding()"),
        "VIT-POS-MODEL": (Status.NOT_OFFERED, None, "adapter offers no at_image_size()"),
    },
}

CONVENTIONS: Mapping[str, Mapping[str, Any]] = {
    "reference": {
        "layer_norm_eps": 1e-6,
        "activation": "gelu",
        "qkv_bias": True,
        "position_resize": "bilinear_corners",
    },
    "timm": {"layer_norm_eps": 1e-6, "activation": "gelu", "qkv_bias": True, "position_resize": "bicubic_antialias"},
    "torchvision": {
        "layer_norm_eps": 1e-6,
        "activation": "gelu",
        "qkv_bias": True,
        "position_resize": "bicubic_corners",
    },
    "transformers": {"layer_norm_eps": 1e-12, "activation": "gelu", "qkv_bias": True, "position_resize": "bicubic"},
    "vit_pytorch": {"layer_norm_eps": 1e-5, "activation": "gelu", "qkv_bias": False},
}

ENVIRONMENT: Mapping[str, Any] = {
    "python": "3.11.2",
    "platform": "Linux-6.1.0-x86_64-with-glibc2.36",
    "cpu": "Intel(R) Xeon(R) Processor @ 2.70GHz",
    "cpu_cores": 2,
    "memory_bytes": 25_276_502_016,
    "device_name": None,
    "packages": {"torch": "2.14.1+cpu", **{name: version for name, version in VERSIONS.items() if name != "reference"}},
    "flags": {"float32_matmul_precision": "highest", "deterministic": False},
    "affinity": [0, 1],
}


def header(**changes: Any) -> Header:
    """What a run of everything plans."""
    values: dict[str, Any] = {
        "vitbench_version": "0.1.0",
        "started_at": "2026-11-22T15:38:02+00:00",
        "command": ["python", "-m", "vitbench.run", "--impl", ",".join(VERSIONS), "--preset", "standard"],
        "preset": "standard",
        "seed": 0,
        "environment": ENVIRONMENT,
        "planned": [*(f"conformance/{name}" for name in VERSIONS), *(record.cell for record in measurements())],
    }
    return Header(**(values | changes))


def requirement(implementation: str = "timm", number: int = 0, **changes: Any) -> RequirementRecord:
    """The record of one requirement; passed, unless the sample says otherwise."""
    identity, level, statement = REQUIREMENTS[number]
    status, margin, reason = OUTCOMES.get(implementation, {}).get(identity, (Status.PASSED, 0.03 + number % 7 / 9, ""))
    blamed = status in {Status.FAILED, Status.KNOWN_FAILURE}
    record = RequirementRecord(
        cell=f"conformance/{implementation}",
        implementation=implementation,
        id=identity,
        area=identity.split("-")[1],
        level=Level(level),
        statement=statement,
        status=status,
        examples=0 if status is Status.NOT_OFFERED else 24,
        unsupported=3 if implementation == "torchvision" else 0,
        worst_margin=margin,
        reason=reason,
        example=EXAMPLE if blamed else "",
        reproduce=""
        if status is Status.PASSED
        else f"pytest --pyargs vitbench.suites.conformance -k {identity} --impl {implementation} --seed 0",
        duration_s=0.2 + number % 5 / 10,
    )
    return replace(record, **changes)


def verdict_of(records: Sequence[RequirementRecord], **changes: Any) -> VerdictRecord:
    """The verdict that follows from the records of one implementation."""
    name = records[0].implementation
    statuses = [(record.level, record.status) for record in records]
    declared = [Level(level) for _, level, _ in REQUIREMENTS]
    totals = {level: max(declared.count(level), sum(its == level for its, _ in statuses)) for level in Level}
    must, should, may = (tally(statuses, level, totals[level]) for level in (Level.MUST, Level.SHOULD, Level.MAY))
    record = VerdictRecord(
        cell=f"conformance/{name}",
        implementation=name,
        version=VERSIONS.get(name, "1.0"),
        verdict=verdict(must, should, may),
        must=must,
        should=should,
        may=may,
        conventions=CONVENTIONS.get(name, {}),
        reason="",
        duration_s=sum(record.duration_s for record in records),
    )
    return replace(record, **changes)


def diagnosis(**changes: Any) -> Diagnosis:
    """A cause that was named, of three failures."""
    record = Diagnosis(
        sentence="matches the paper's ViT with LayerNorm epsilon 1e-5 for the declared 1e-6",
        evidence="it gives all of 52 answers to within 2e-15 of the largest value",
        causes=[
            Cause(
                id="norm-epsilon-1e-5",
                summary="LayerNorm epsilon 1e-5 for the declared 1e-6",
                remedy="declare layer_norm_eps=1e-5 in `conventions`, or pass eps=1e-6",
            )
        ],
        stage="block 0: attention",
        found_by="taps",
        failed=3,
        explained=["VIT-NORM-EPSILON", "VIT-HEAD-LOGITS"],
        unexplained=["VIT-PATCH-INDIVISIBLE"],
        tried=165,
        out_of_time=False,
        budget_s=10.0,
        duration_s=1.64,
    )
    return replace(record, **changes)


def judged(name: str) -> list[Record]:
    """All requirements of one implementation and its verdict."""
    records = [requirement(name, number) for number in range(len(REQUIREMENTS))]
    return [*records, verdict_of(records)]


def measurement(
    name: str = "timm", latency_s: float = 0.0345, batch: int = 4, sampled: int = 200, **changes: Any
) -> MeasurementRecord:
    """One measured cell, its samples scattered like a real machine's."""
    random = Random(f"{name!a} {latency_s}")  # no secret
    samples = [
        round(latency_s * (1 + abs(random.gauss(0, 0.02))), 9) for _ in range(sampled)
    ]  # clocks count nanoseconds
    record = MeasurementRecord(
        cell=f"throughput/{name}/inference/Ti/16@224/float32/b{batch}/eager/cpu",
        implementation=name,
        version=VERSIONS.get(name, "1.0"),
        suite="throughput",
        task="inference",
        model="Ti/16@224",
        device="cpu",
        device_name="Intel(R) Xeon(R) Processor @ 2.70GHz",
        dtype="float32",
        batch=batch,
        mode="eager",
        threads=1,
        outcome=Outcome.MEASURED,
        parameters=5_717_416,
        multiply_accumulates=1_258_000_000,
        throughput_images_per_s=batch / latency_s,
        latency_s=latency_s,
        latency_low_s=latency_s * 0.988,
        latency_high_s=latency_s * 1.014,
        converged=True,
        build_s=0.21,
        first_forward_s=latency_s * 3,
        warmup_iterations=12,
        samples_s=samples,
        duration_s=9.4,
    )
    return replace(record, **changes)


def unmeasured(name: str, outcome: Outcome, reason: str, **changes: Any) -> MeasurementRecord:
    """A cell that ended without a figure."""
    return replace(
        measurement(name, **changes),
        outcome=outcome,
        reason=reason,
        throughput_images_per_s=None,
        latency_s=None,
        latency_low_s=None,
        latency_high_s=None,
        converged=None,
        build_s=None,
        first_forward_s=None,
        samples_s=(),
    )


def measurements() -> list[MeasurementRecord]:
    """Inference of all five, and training of three of them."""
    training: dict[str, Any] = {"task": "training", "batch": 8}
    return [
        measurement("reference", 0.0712),
        measurement("timm", 0.0468),
        measurement("torchvision", 0.0491),
        measurement("transformers", 0.0507, latency_low_s=0.0476, latency_high_s=0.0561, converged=False),
        unmeasured("vit_pytorch", Outcome.TIMED_OUT, "no result within 120 s (process ended)"),
        measurement("timm", 0.3312, cell="throughput/timm/training", **training),
        measurement("torchvision", 0.3404, cell="throughput/torchvision/training", **training),
        unmeasured(
            "transformers",
            Outcome.OUT_OF_MEMORY,
            "RuntimeError: cannot allocate 3.1 GiB",
            cell="throughput/transformers/training",
            **training,
        ),
    ]


def records() -> list[Record]:
    """A whole run that came to its end."""
    footer = Footer(finished_at="2026-11-22T15:50:44+00:00", status="complete", duration_s=762.4)
    cells = [record for name in VERSIONS for record in judged(name)]
    ran = Ran(cell=cells[-1].cell, started_at="2026-11-22T15:38:03.250+00:00", duration_s=41.5, timed=False)
    return [header(), *cells, *measurements(), *studies(), *traces(), ran, footer]


def unfinished() -> list[Record]:
    """The same run, stopped while it judged transformers."""
    everything = records()
    stop = next(
        index
        for index, record in enumerate(everything)
        if isinstance(record, RequirementRecord) and record.implementation == "transformers"
    )
    return everything[: stop + 12]


def hostile(text: str) -> list[Record]:
    """A run in which every free text is the given one."""
    one = requirement(
        text,
        cell=text,
        id=text,
        area=text,
        statement=text,
        status=Status.FAILED,
        reason=text,
        example=text,
        reproduce=text,
    )
    found = diagnosis(sentence=text, evidence=text, causes=[Cause(id=text, summary=text, remedy=text)], stage=text)
    judgement = verdict_of([one], cell=text, version=text, reason=text, conventions={text: text}, diagnosis=found)
    figure = measurement(
        text, cell=f"{text} measured", version=text, model=text, dtype=text, mode=text, device=text, device_name=text
    )
    start = header(
        preset=text,
        started_at=text,
        command=[text],
        environment={text: {text: [text, None]}},
        planned=[text, f"{text} 2"],
    )
    lost = unmeasured(text, Outcome.CRASHED, text, cell=f"{text} unmeasured")
    return [start, one, judgement, figure, lost, hostile_study(text), hostile_trace(text, cell=figure.cell)]


def large(requirements: int = 200, implementations: int = 25) -> list[Record]:
    """Very many records, for the time and the size."""
    names = [f"candidate_{number}" for number in range(implementations)]
    body: list[Record] = []
    for name in names:
        ones = [
            requirement(
                name, number % len(REQUIREMENTS), id=f"VIT-POS-CASE-{number}", statement=f"Case {number} must hold."
            )
            for number in range(requirements)
        ]
        body += [*ones, verdict_of(ones)]
    return [header(planned=[f"conformance/{name}" for name in names]), *body]


def write(records: Iterable[Record], path: Path) -> Path:
    """Write them as a results file."""
    with ResultsWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


def run_of(records: Iterable[Record], folder: Path, name: str = "run.jsonl") -> Run:
    """Write them and read them again."""
    return read(write(records, folder / name))


def nowhere(record: MeasurementRecord) -> MeasurementRecord:
    """A measurement whose every figure is missing or not a number, as another writer might leave it."""
    return replace(
        record, throughput_images_per_s=math.nan, latency_s=None, latency_low_s=None, latency_high_s=math.inf
    )


if __name__ == "__main__":
    for each in (records, unfinished, large):
        sys.stdout.write(f"{write(each(), Path(sys.argv[1]) / (each.__name__ + '.jsonl'))}\n")
