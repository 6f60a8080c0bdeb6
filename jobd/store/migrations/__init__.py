"""Numbered scripts, applied in order and recorded in the store, each in a transaction of its own. A recorded
one whose file is not here means that the store is newer than the program. They are frozen: none imports
today's tables."""
