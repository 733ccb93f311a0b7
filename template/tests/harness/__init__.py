"""The test harness of this project. It belongs to the template: `copier update` replaces it.

pytest loads it before anything else (`-p tests.harness` in pyproject.toml), so that the
application is pointed to the tests' own database before any of it is imported. Put fixtures of
your own into tests/conftest.py; override one of these there by giving yours the same name.

Fixtures
    engine           AsyncEngine: the application's, on a database that belongs to this run
    session_factory  async_sessionmaker of sessions for tests
    session          AsyncSession: the test's own, never lent to the application
    app              FastAPI: the application, its lifespan running
    client           httpx.AsyncClient that calls `app` in process
Marker
    real_commits     this test needs what only real transactions show

Read next: answers.py (what was chosen), isolation.py (how a test's writes disappear).
"""

import pytest

from . import lifecycle


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Prepare the run's database, then load fixtures: later ones override those of plugins."""
    if early_config.known_args_namespace.help:
        return
    lifecycle.point_application_to_database(early_config)
    for module in ("lifecycle", "loop", "isolation", "fixtures"):
        early_config.pluginmanager.import_plugin(f"{__name__}.{module}")
