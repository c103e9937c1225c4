"""The conformance and benchmark lab for Vision Transformers.

Three verbs: conform (``pytest suites/conformance --impl mypkg``), measure (``python -m vitbench.run``) and
gate. This module imports nothing heavy: ``--help`` must not wait for torch.
"""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout the folders reference/, suites/ and reports/ lie beside this one, not inside it. Python finds
# `vitbench` in the working directory first, so without this line a checkout would hide the installed
# `vitbench.reference` behind a package that lacks it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "reference" / "vit.py").is_file():
    __path__.append(str(_checkout))
