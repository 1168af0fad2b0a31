"""`python -m minigpt4.evaluation`."""

import sys

from minigpt4.evaluation.command import main

if __name__ == "__main__":
    sys.exit(main())
