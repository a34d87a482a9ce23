"""`python -m medzoo.core` is the `medzoo` command."""

import sys

from medzoo.core.cli import main

if __name__ == "__main__":
    sys.exit(main())
