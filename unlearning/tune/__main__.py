"""``python -m unlearning.tune``."""

from .command import main

raise SystemExit(main())
