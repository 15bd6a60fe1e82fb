"""`python -m streams.app` is the `hil` command, for where its script is not on the path."""

from streams.app import main

if __name__ == "__main__":
    main()
