"""Studies as the suites paper/… would record them, for tests of the results and the report."""

from collections.abc import Sequence

from vitbench.records import Outcome, StudyRecord
from vitbench.study import Curve, Missing, NamedArray, Scalar

T_INTERVAL = "95 % of the mean, by Student's t"


def study(suite: str = "paper/transfer", implementation: str = "timm", **changes: object) -> StudyRecord:
    """A study with a figure, two curves and an array, and one part that is not offered."""
    values: dict[str, object] = {
        "cell": f"{suite} {implementation} cpu threads=1 quick seed=0",
        "implementation": implementation,
        "version": "1.0.31",
        "suite": suite,
        "task": "",
        "model": "",
        "device": "cpu",
        "device_name": "Intel(R) Xeon(R) Processor @ 2.70GHz",
        "dtype": "float32",
        "threads": 1,
        "outcome": Outcome.MEASURED,
        "data": "digits, 1500 images to train on and 297 to test on",
        "seeds": (0, 1, 2),
        "settings": {"width": 64, "depth": 4, "steps": 300, "optimizer": {"name": "Adam", "betas": [0.9, 0.999]}},
        "scalars": (
            Scalar(
                name="accuracy",
                value=0.91,
                spread=0.012,
                low=0.88,
                high=0.94,
                interval=T_INTERVAL,
                seeds=3,
                series="fine-tuned",
            ),
            Scalar(name="accuracy", value=None, series="from scratch", note="the loss was NaN at step 12"),
        ),
        "curves": tuple(curve(series) for series in ("fine-tuned", "from scratch")),
        "arrays": (NamedArray.of("attention distance", ("block", "head"), (2, 3), range(6), unit="pixels"),),
        "missing": (Missing(what="attention rollout", hook="attention", reason="adapter offers no attention()"),),
        "notes": ("a study of this size shows trends, no more",),
        "duration_s": 21.5,
    }
    return StudyRecord(**(values | changes))  # type: ignore[arg-type]


def curve(series: str) -> Curve:
    """A line with an interval and a gap."""
    return Curve(
        name="accuracy while training",
        series=series,
        x_axis="step",
        y_axis="accuracy",
        x=(0, 100, 200),
        y=(0.1, None, 0.9),
        low=(0.08, None, 0.85),
        high=(0.12, None, 0.95),
        interval=T_INTERVAL,
        seeds=3,
    )


def studies() -> Sequence[StudyRecord]:
    """One that measured, and one that did not."""
    lost = study(
        implementation="vit_pytorch",
        outcome=Outcome.NOT_SUPPORTED,
        reason="no at_image_size()",
        scalars=(),
        curves=(),
        arrays=(),
    )
    return [study(), lost]


def hostile_study(text: str) -> StudyRecord:
    """Every free text is the given one."""
    array = NamedArray(name=text, axes=(text,), shape=(2,), values=text, series=text, unit=text, note=text)
    line = Curve(name=text, series=text, x_axis=text, y_axis=text, x=(1,), y=(2,), interval=text, note=text)
    return study(
        cell=f"{text} studied",
        implementation=text,
        version=text,
        suite=text,
        task=text,
        model=text,
        reason=text,
        data=text,
        settings={text: {text: [text, None]}},
        scalars=(Scalar(name=text, value=1.0, series=text, unit=text, interval=text, note=text),),
        curves=(line,),
        arrays=(array,),
        missing=(Missing(what=text, hook=text, reason=text),),
        notes=(text,),
    )
