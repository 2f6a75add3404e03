"""``python -m unlearning.verify``."""

from .command import main

raise SystemExit(main())
