"""Apps: what can be run, with declared inputs and parameters. Pure but for reading their files: what an app
is (app.py, fields.py), what a submission may say to it (values.py), the arguments that this becomes
(template.py), where its inputs come from (sources.py), and what becomes of an old job's values under today's
app (migrate.py)."""
