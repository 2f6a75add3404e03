"""``python -m unlearning.requests``."""

from .command import main

raise SystemExit(main())
