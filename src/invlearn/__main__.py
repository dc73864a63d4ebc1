"""The command line as a module: `torchrun ... -m invlearn train ...`."""

from invlearn.cli import main

if __name__ == "__main__":
    main()
