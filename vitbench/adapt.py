"""``vitbench adapt mypkg.vit:VisionTransformer -o adapter.py``: the adapter that vitbench infers, as code to keep.

``-o model.onnx`` writes what torch's exporter makes of a model of it.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from vitbench.console import speak_any_language
from vitbench.errors import AdapterBroken, NotSupported, OutputUnwritable, UsageError, VitbenchError

_DESCRIPTION = """Write the adapter that vitbench infers for a torch class or factory: the one that --impl judges it by.

Keep it beside your code, and change what is wrong: a convention, a limit, a stage that is missing. Once it is yours, the
conventions are declared instead of assumed, and the verdict no longer says (inferred).

With -o FILE.onnx it is the export of a small model of it, or of any torch --impl, that is written: the file that
--impl onnx:NAME judges first, to be judged, opened, or run by itself."""

_EPILOG = """examples:
  vitbench adapt mypkg.vit:VisionTransformer -o adapter.py
  pytest --pyargs vitbench.suites.conformance --impl adapter.py
  vitbench adapt timm -o timm.onnx
  pytest --pyargs vitbench.suites.conformance --impl timm.onnx

exit codes: 0 written, 2 usage, 4 no such class, no adapter could be inferred for it, or it cannot be exported"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code; ``--help`` lists them."""
    speak_any_language()
    options = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        with redirect_stdout(sys.stderr):  # what the class prints is no part of its adapter
            exports = options.output is not None and options.output.suffix == ".onnx"
            written = _exported(options.impl) if exports else _code(options.impl).encode()
        if options.output is None:
            print(written.decode(), end="")
            return 0
        _write(options.output, written, overwrite=options.force)
    except VitbenchError as error:
        print(f"vitbench adapt: {error}", file=sys.stderr)
        return error.exit_code
    first = "" if exports else "look it through, then "
    print(
        f"{options.output}: {first}pytest --pyargs vitbench.suites.conformance --impl {options.output}"
        f"{'' if exports else _beside(options.impl, options.output)}"
    )
    return 0


def _beside(impl: str, output: Path) -> str:
    """Where the adapter has to lie, if it imports a file of another folder."""
    model = Path(impl.rpartition(":")[0])
    if model.suffix != ".py" or model.resolve().parent == output.resolve().parent:
        return ""
    return f"\nIt imports {model.stem}, which is found beside it or on PYTHONPATH: keep it beside {model}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vitbench adapt",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "impl", help="package.module:Class or :factory, or a path model.py:Class; to export, whatever --impl takes"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: the terminal); FILE.onnx: the export of a small model instead",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    return parser


def _code(impl: str) -> str:
    """The adapter's module.

    Raises:
        UsageError: what is named is an adapter already.
        AdapterNotFound, AdapterBroken: nothing of that name, or its import failed.
        NotInferred: it was not understood.
    """
    from vitbench.registry import inferred_code  # noqa: PLC0415  # torch, needed only now

    code = inferred_code(impl)
    if code is None:
        raise UsageError(
            f"{impl!r} needs no adapter: it is one, or has one; name a torch class as package.module:Class"
        )
    return code


def _exported(impl: str) -> bytes:
    """The ONNX file of a small model.

    Raises:
        AdapterNotFound, AdapterBroken, NotInferred: as ``--impl``; it is no torch model, or its exporter refuses it.
    """
    from vitbench.registry import resolve  # noqa: PLC0415  # as above

    adapter = resolve(f"onnx:{impl}")
    from vitbench.onnx_files.exported import ExportedAdapter  # noqa: PLC0415  # an extra, which resolve() looks for

    if not isinstance(adapter, ExportedAdapter):
        raise AdapterBroken(f"{impl!r} is no torch model that could be exported")
    try:
        return adapter.file()
    except NotSupported as error:
        raise AdapterBroken(f"{impl!r} cannot be exported: {error}") from error


def _write(path: Path, content: bytes, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputUnwritable(f"{path} is there already; --force writes over it")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputUnwritable(f"{path} cannot be written: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
