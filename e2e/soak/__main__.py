"""`python -m e2e.soak`."""

import sys

from e2e.soak.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
