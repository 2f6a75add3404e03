"""Make a model forget: `python run.py method=jit dataset=cifar100`. `python run.py --help` explains the words."""

import atexit
import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        from unlearning.guide import guide  # before Hydra, which takes longer to import than help should take

        print(guide())
    else:
        from unlearning.cli import main

        code = main()
        atexit._run_exitfuncs()
        with suppress(OSError):  # what is left where output cannot be written, which has been said
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # as sys.exit, but without the two seconds that taking torch's modules apart takes
