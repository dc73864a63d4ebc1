"""`python -m reproduction ...` is `invlearn reproduce ...`."""

import sys

from invlearn.cli.main import main

if __name__ == "__main__":
    main(["reproduce", *sys.argv[1:]])
