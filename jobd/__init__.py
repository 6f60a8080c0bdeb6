"""jobd: runs people's jobs on the machine they share and on the cluster behind it, and keeps one record of
each.

Nothing is imported here, so that `jobctl` and the keeper start fast. The way down through the packages, which
tests/test_walls.py holds:

    cli, daemon > api, client > verbs, engine > store, backends, courier > keeper > config, backend
        > layers > places > yamlfile > errors, units, status, people, machine, service, journal, difference
"""

__version__ = "0.1.0"
