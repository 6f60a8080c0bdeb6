"""python -m jobd.cli is jobctl."""

from jobd.cli import main

main()
