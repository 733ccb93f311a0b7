"""Your own fixtures, for all tests. It stays yours: `copier update` never touches it.

The fixtures of the harness (its README.md lists them) are here already. A fixture of the same name
replaces one of them. A setting that the application needs is set here, before anything imports it:
`os.environ.setdefault("NAME", "value")`.
"""
