"""The command ``vitbench``: the same verbs as the modules, ``vitbench run`` for ``python -m vitbench.run``."""

import importlib
import sys
from collections.abc import Sequence

from vitbench import __version__

VERBS = {
    "run": "judge and measure implementations, and write a report",
    "report": "write a report of runs made before",
    "view": "open the report of a run in a browser",
    "compare": "put implementations side by side, requirement by requirement; JUnit XML, a badge",
    "gate": "stop a change that makes it wrong, slower or larger",
    "adapt": "write the adapter that is inferred for a torch class, to keep and to change",
    "spec": "print the specification that implementations are judged by",
    "calibrate": "prove that the checks can tell: mutants killed, nothing benign accused",
}
_HELP = ("-h", "--help", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to the verb's own module."""
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["help"]
    if verb in VERBS:
        module = importlib.import_module(f"vitbench.{verb}")
        code: int = module.main(rest)
        return code
    if verb in _HELP:
        print(help_text())
        return 0
    if verb in ("-V", "--version"):
        print(f"vitbench {__version__}")
        return 0
    print(f"vitbench: no verb {verb!r}; there are {', '.join(VERBS)} (vitbench help explains them)", file=sys.stderr)
    return 2


def help_text() -> str:
    """What each verb does."""
    verbs = "\n".join(f"  {verb:<9} {purpose}" for verb, purpose in VERBS.items())
    return f"""usage: vitbench VERB [options]

The conformance and benchmark lab for Vision Transformers.

verbs (each also python -m vitbench.VERB; vitbench VERB --help explains its options):
{verbs}

To judge one implementation check by check: pytest --pyargs vitbench.suites.conformance --impl NAME"""


if __name__ == "__main__":
    sys.exit(main())
