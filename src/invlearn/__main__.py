"""The command line as a module: `torchrun ... -m invlearn train ...`."""

import sys

if __name__ == "__main__":
    # Python puts the working folder first for -m. A file that lies there must not stand in for a
    # module of a library.
    if not sys.flags.safe_path:
        del sys.path[0]
    from invlearn.cli.main import main

    main()
