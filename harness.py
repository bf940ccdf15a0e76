#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Entry point; finds the project's virtual environment when started outside it."""

import os
import signal
import sys
from pathlib import Path

PYTHON = Path(__file__).resolve().parent / ".venv" / "bin" / "python"

if __name__ == "__main__":
    # nothing is begun yet that Ctrl-C could spoil
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if PYTHON.exists() and Path(sys.prefix) != PYTHON.parent.parent:
        os.execv(PYTHON, [str(PYTHON), *sys.argv])
    try:
        from kvet.cli.main import main
    except ImportError as error:
        sys.exit(f"kvet: {error}\n  fix: make install")
    sys.exit(main())
