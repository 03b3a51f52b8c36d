"""`python -m cli` is `droptune`."""

from cli.main import main

main()
