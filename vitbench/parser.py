"""The parser of a command line: a mistake is an exception, as every other one."""

import argparse
from typing import NoReturn

from vitbench.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Leaves it to ``main`` to print a mistake, as it prints every other one."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message} ({self.prog} --help explains the options)")
