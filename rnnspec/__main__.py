"""Run the command line as `python -m rnnspec`."""

from rnnspec.cli import main

if __name__ == "__main__":
    main()
