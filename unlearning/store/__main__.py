"""``python -m unlearning.store``."""

from .command import main

raise SystemExit(main())
