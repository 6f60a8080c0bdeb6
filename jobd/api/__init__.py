"""jobd over HTTP on a Unix socket: Agave's routes, names and envelope, and what Agave lacks beside them.

`routes.py` is the table of all routes, from which the server and the OpenAPI document are both made.
"""
