"""Statements of all kinds, for three sessions to play in the sandbox and on real connections.

The text of this file is put into a project, so it imports nothing else of these tests. `{}` stands
for a text; a statement may come in another spelling, which must not matter.
"""

import random
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Statements:
    """What is played on one kind of database."""

    schema: tuple[str, ...]
    plain: tuple[str, ...]
    """What needs no lock on a whole table."""
    altering: tuple[str, ...]
    """What would wait for everybody who has a transaction open."""
    contents: tuple[str, ...]
    """Queries for all that the statements leave."""


COMMON: Final = (
    "SELECT text, likes FROM things ORDER BY text",
    "SELECT text FROM things WHERE text = 'INSERT INTO things; COMMIT' OR text = '{}'",
    "SELECT 'ROLLBACK; ' AS \"delete\", 'it''s --'",
    "WITH w AS (SELECT text FROM things) SELECT * FROM w ORDER BY text",
    "SELECT count(*) FROM seen",
    "INSERT INTO things (text) VALUES ('{}')",
    "INSERT INTO things (text) SELECT text || '{}' FROM things",
    "UPDATE things SET likes = likes + 1 WHERE text = '{}'",
    "DELETE FROM things WHERE text = '{}'",
    "SELECT * FROM missing",
    "INSERT INTO things (text) VALUES (NULL)",
    "SAVEPOINT mine",
    "ROLLBACK TO SAVEPOINT mine",
    "RELEASE SAVEPOINT mine",
    "COMMIT",
    "ROLLBACK",
    "BEGIN",
)

POSTGRESQL: Final = Statements(
    schema=(
        "CREATE TABLE things (id serial, text text NOT NULL UNIQUE, likes int DEFAULT 0)",
        "CREATE TABLE seen (text text)",
        "CREATE TABLE parts (text text REFERENCES things (text) DEFERRABLE, n int"
        " UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "CREATE SEQUENCE numbers",
        "CREATE TYPE mood AS ENUM ('glad')",
        "CREATE FUNCTION add_thing(t text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen VALUES (t); RETURN 1; END $$",
        'CREATE FUNCTION "Add Thing"(t text) RETURNS int LANGUAGE sql AS'
        " 'INSERT INTO seen VALUES (t) RETURNING 1'",
        "CREATE FUNCTION add_two(t text) RETURNS int LANGUAGE sql AS"
        " 'SELECT add_thing(t) + add_thing(t)'",
        "CREATE FUNCTION add_stably(t text) RETURNS int STABLE LANGUAGE sql AS"
        " 'SELECT add_thing(t)'",
        "CREATE FUNCTION touch(t things) RETURNS int LANGUAGE sql AS"
        " 'INSERT INTO seen VALUES (t.text) RETURNING 1'",
        "CREATE DOMAIN noisy AS text CHECK (add_thing(VALUE) = 1)",
        "CREATE FUNCTION be(tenant text) RETURNS text LANGUAGE sql AS"
        " $$SELECT set_config('app.tenant', tenant, true)$$",
        "CREATE FUNCTION peek() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM seen'",
        "CREATE FUNCTION lock_it() RETURNS bool LANGUAGE sql AS 'SELECT pg_try_advisory_lock(2)'",
        "CREATE FUNCTION keep(tenant text) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN set_config('app.tenant', tenant, false); END $$",
        "CREATE VIEW locking AS SELECT lock_it() AS locked",
        "CREATE PROCEDURE add_by_call(t text) LANGUAGE sql AS 'INSERT INTO seen VALUES (t)'",
        "CREATE VIEW adding AS SELECT add_thing(text) FROM things",
        "CREATE VIEW looking AS SELECT text FROM things",
        'CREATE OPERATOR !!! (FUNCTION = "Add Thing", RIGHTARG = text)',
        "CREATE FUNCTION add_to(n int, t text) RETURNS int LANGUAGE sql AS"
        " 'INSERT INTO seen VALUES (t) RETURNING 1'",
        "CREATE AGGREGATE add_all(text) (SFUNC = add_to, STYPE = int)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO seen VALUES (new.text); RETURN NULL; END $$",
        "CREATE TRIGGER note AFTER UPDATE ON things FOR EACH ROW EXECUTE FUNCTION note()",
        "CREATE MATERIALIZED VIEW many AS SELECT count(*) FROM things",
    ),
    plain=(
        *COMMON,
        "TABLE things",
        "VALUES (1), (2)",
        "SELECT $$INSERT INTO$$, $a$ it's; $a$, E'\\'; COMMIT'",
        "SELECT add_thing('{}')",
        "SELECT (SELECT add_thing('{}'))",
        "SELECT public.add_thing ( '{}' )",
        "SELECT public.\"add_thing\"('{}')",
        "SELECT \"Add Thing\"('{}')",
        "SELECT add_two('{}')",
        "SELECT add_stably('{}')",
        "SELECT t.touch FROM things t",
        "SELECT CAST('{}' AS noisy)",
        "CREATE TABLE pg_temp.mine (n int)",
        "SELECT !!! '{}'::text",
        "SELECT add_all(text) FROM things",
        "SELECT peek()",
        "SELECT * FROM adding",
        "SELECT * FROM looking ORDER BY text",
        "SELECT * FROM many",
        "CALL add_by_call('{}')",
        "DO $$ BEGIN PERFORM add_thing('{}'); END $$",
        "SELECT be('{}')",
        "SELECT lock_it()",
        'SELECT * FROM "locking"',
        "SELECT keep('{}')",
        "SELECT query_to_xml($$SELECT add_thing('{}')$$, true, true, '')",
        "WITH w AS (INSERT INTO things (text) VALUES ('{}') RETURNING text) SELECT * FROM w",
        'WITH "w" AS MATERIALIZED (DELETE FROM things RETURNING text) SELECT count(*) FROM "w"',
        "INSERT INTO things (text) VALUES ('{}') ON CONFLICT DO NOTHING RETURNING text",
        "MERGE INTO things USING (VALUES ('{}')) AS v (t) ON text = t"
        " WHEN MATCHED THEN UPDATE SET likes = 5 WHEN NOT MATCHED THEN INSERT (text) VALUES (t)",
        "EXPLAIN (COSTS off) INSERT INTO seen VALUES ('{}')",
        "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off)"
        " INSERT INTO seen VALUES ('{}')",
        "SELECT set_config('app.tenant', '{}', true), set_config('app.user', '{}', true)",
        "SELECT set_config('app.tenant', '{}', false)",
        "SET app.tenant = '{}'",
        "SET LOCAL app.tenant = '{}'",
        "SET LOCAL \"app.tenant\" = '{}'",
        "SET LOCAL TIME ZONE 'Asia/Tokyo'",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SET LOCAL search_path = pg_catalog",
        "SET LOCAL ROLE pg_monitor",
        "RESET app.tenant",
        "SELECT coalesce(current_setting('app.tenant', true), '') ||"
        " coalesce(current_setting('app.user', true), '')",
        "SELECT coalesce(current_setting('app.tenant', true), ''), current_setting('timezone'),"
        " current_setting('search_path'), current_user",
        "SHOW TimeZone",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "SET TRANSACTION READ ONLY",
        "INSERT INTO parts VALUES ('{}', 1)",
        "INSERT INTO parts VALUES (NULL, 1)",
        "SELECT text, n FROM parts ORDER BY 1, 2",
        "SELECT nextval('numbers')",
        "SELECT setval('numbers', 10)",
        "SELECT currval('numbers')",
        "SELECT lastval()",
        "SELECT text FROM things WHERE text = '{}' FOR UPDATE",
        "SELECT text FROM things WHERE text = '{}' FOR\n  KEY SHARE SKIP LOCKED",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_notify('a', '{}')",
        "NOTIFY a",
        "LISTEN a",
        "DECLARE c CURSOR FOR SELECT 1",
        "PREPARE p AS SELECT 1",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "CREATE TEMPORARY TABLE mine (n int)",
        "SELECT 1 AS n INTO TEMP mine",
        "SELECT text INTO copied FROM things",
        "CREATE TABLE made_{} (n int)",
        "SELECT lo_create(0) > 0",
        "SELECT count(*) FROM pg_largeobject_metadata",
        "CREATE INDEX CONCURRENTLY ON things (likes)",
        "VACUUM things",
        "COPY things (text) TO STDOUT",
        "COMMENT ON TABLE things IS '{}'",
        "CREATE SCHEMA s_{}",
        "CREATE FUNCTION late() RETURNS int LANGUAGE sql AS"
        " 'INSERT INTO seen VALUES (''late'') RETURNING 1'",
        "SELECT late()",
        "SELECT 1 / 0",
        "SELECT * FROM things WHERE U&\"te\\0078t\" = '{}'",
        "SELECT pg_advisory_xact_lock_shared(2)",
        "SELECT txid_current() > 0",
    ),
    altering=(
        "TRUNCATE things, parts",
        "TRUNCATE seen",
        "LOCK TABLE things",
        "ALTER TABLE things ADD COLUMN IF NOT EXISTS extra int",
        "ALTER TABLE seen ALTER COLUMN text SET DEFAULT '{}'",
        "ALTER TYPE mood ADD VALUE IF NOT EXISTS '{}'",
        "CREATE INDEX made ON things (likes)",
        "DROP INDEX IF EXISTS made",
        "DROP TABLE IF EXISTS parts",
        "DROP TABLE IF EXISTS made_{}",
        "CREATE OR REPLACE FUNCTION peek() RETURNS bigint STABLE LANGUAGE sql AS"
        " 'SELECT 7::bigint'",
        "CREATE OR REPLACE FUNCTION peek() RETURNS bigint LANGUAGE sql AS"
        " 'INSERT INTO seen VALUES (''peek'') RETURNING 8::bigint'",
        "REFRESH MATERIALIZED VIEW many",
        "ANALYZE things",
        "REINDEX TABLE things",
        "CLUSTER things USING things_text_key",
        "GRANT SELECT ON things TO pg_monitor",
        "ALTER TABLE things ENABLE ROW LEVEL SECURITY",
    ),
    contents=(
        "SELECT text, likes FROM things ORDER BY text",
        "SELECT text FROM seen ORDER BY text",
        "SELECT relname, relkind, relrowsecurity FROM pg_class WHERE oid >= 16384 AND"
        " relkind IN ('r', 'S', 'v', 'm') AND relpersistence = 'p' ORDER BY 1",
        "SELECT attname, attnotnull, pg_get_expr(adbin, adrelid) FROM pg_attribute"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid IN ('things'::regclass, 'seen'::regclass) AND attnum > 0 ORDER BY 1",
        "SELECT obj_description('things'::regclass), (SELECT count(*) FROM many),"
        " (SELECT count(*) FROM pg_largeobject_metadata), (SELECT last_value FROM numbers)",
        "SELECT nspname FROM pg_namespace WHERE nspname ~ '^s_' ORDER BY 1",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " ORDER BY 1, 2",
        "SELECT enumlabel FROM pg_enum ORDER BY enumsortorder",
    ),
)

MYSQL: Final = Statements(
    schema=(
        "CREATE TABLE things (id int PRIMARY KEY AUTO_INCREMENT, text varchar(50) NOT NULL UNIQUE,"
        " likes int DEFAULT 0)",
        "CREATE TABLE seen (text varchar(50))",
        "CREATE FUNCTION add_thing(t text) RETURNS int MODIFIES SQL DATA BEGIN"
        " INSERT INTO seen VALUES (t); RETURN 1; END",
        "CREATE FUNCTION add_two(t text) RETURNS int MODIFIES SQL DATA"
        " RETURN add_thing(t) + add_thing(t)",
        "CREATE FUNCTION peek() RETURNS int READS SQL DATA RETURN (SELECT count(*) FROM seen)",
        "CREATE PROCEDURE add_by_call(t text) INSERT INTO seen VALUES (t)",
        "CREATE PROCEDURE keep(t text) SET @x = t",
        "CREATE PROCEDURE keep_this() CALL keep('this')",
        "CREATE FUNCTION lock_it() RETURNS int RETURN GET_LOCK('a', 0)",
        "CREATE VIEW locking AS SELECT lock_it() AS locked",
        "CREATE PROCEDURE `a b`(t text) INSERT INTO seen VALUES (t)",
        "CREATE VIEW adding AS SELECT add_thing(text) FROM things",
        "CREATE VIEW also AS SELECT * FROM adding",
        "CREATE VIEW looking AS SELECT text FROM things",
        "CREATE TRIGGER note AFTER UPDATE ON things FOR EACH ROW"
        " INSERT INTO seen VALUES (new.text)",
    ),
    plain=(
        *(statement.replace("text || '{}'", "concat(text, '{}')") for statement in COMMON),
        "VALUES (1), (2)",
        "SELECT \"it's; COMMIT\", 'a\\'; INSERT'",
        "SELECT add_thing('{}')",
        "SELECT (SELECT add_thing ('{}'))",
        "SELECT `add_thing`('{}')",
        "SELECT add_two('{}')",
        "SELECT peek()",
        "DO add_thing('{}')",
        "SELECT * FROM adding",
        "SELECT * FROM also",
        "SELECT * FROM `looking` ORDER BY text",
        "CALL add_by_call('{}')",
        "CALL `a b`('{}')",
        "CALL keep('{}')",
        "CALL keep_this",
        "SELECT lock_it()",
        "SELECT * FROM `locking`",
        "INSERT INTO things SET text = '{}'",
        "INSERT IGNORE INTO things (text) VALUES ('{}')",
        "INSERT INTO things (text) VALUES ('{}') ON DUPLICATE KEY UPDATE likes = likes + 1",
        "INSERT INTO things (text) VALUES ('{}') RETURNING text",
        "REPLACE INTO things (text) VALUES ('{}')",
        "REPLACE INTO things (text) VALUES ('{}') RETURNING text",
        "UPDATE things JOIN seen ON things.text = seen.text SET likes = 9",
        "DELETE things FROM things JOIN seen ON things.text = seen.text",
        "EXPLAIN FORMAT=JSON SELECT 1",
        "DESCRIBE things",
        "SHOW TABLES",
        "SELECT text INTO @x FROM things LIMIT 1",
        "SET @x = '{}'",
        "SELECT @x := 1",
        "SELECT @x",
        "SELECT 'a@x'",
        "SELECT @@autocommit",
        "SET SESSION sort_buffer_size = 100000",
        "SET NAMES latin1",
        "SET autocommit = 1",
        "SET TRANSACTION READ ONLY",
        "SELECT text FROM things WHERE text = '{}' FOR UPDATE",
        "SELECT text FROM things WHERE text = '{}'\nLOCK  IN SHARE MODE",
        "SELECT GET_LOCK('a', 0)",
        "SELECT RELEASE_ALL_LOCKS()",
        "SELECT LAST_INSERT_ID()",
        "SELECT FOUND_ROWS(), ROW_COUNT()",
        "CREATE TEMPORARY TABLE mine (n int)",
        "PREPARE p FROM 'SELECT 1'",
        "EXECUTE IMMEDIATE 'SELECT 1'",
        "HANDLER things OPEN",
        "SET STATEMENT max_statement_time=10 FOR SELECT 1",
        "SET STATEMENT max_statement_time=10 FOR INSERT INTO seen VALUES ('{}')",
        "BEGIN NOT ATOMIC INSERT INTO seen VALUES ('{}'); END",
        "START TRANSACTION READ ONLY",
        "XA START 'a'",
        "SELECT /*! 1 + */ 1",
        "/*!INSERT*/ INTO things (text) VALUES ('{}')",
        "LOAD DATA INFILE '/missing' INTO TABLE things",
        "SELECT 1 INTO OUTFILE '/missing/file'",
        "SELECT SLEEP(0)",
        "KILL QUERY 0",
        "SELECT 1 FROM things PROCEDURE ANALYSE()",
        "DO SLEEP(0)",
    ),
    altering=(
        "TRUNCATE things",
        "LOCK TABLES things WRITE",
        "ALTER TABLE things ADD COLUMN extra int",
        "CREATE TABLE made_{} (n int)",
        "DROP TABLE IF EXISTS made_{}",
        "RENAME TABLE seen TO saw",
        "CREATE INDEX made ON things (likes)",
        "ANALYZE TABLE things",
        "OPTIMIZE TABLE things",
        "CREATE OR REPLACE VIEW looking AS SELECT 1 AS text",
        "FLUSH TABLES",
    ),
    contents=(
        "SELECT text, likes FROM things ORDER BY text",
        "SELECT text FROM seen ORDER BY text",
        "SHOW TABLES",
        "SHOW COLUMNS FROM things",
    ),
)

SQLITE: Final = Statements(
    schema=(
        "CREATE TABLE things (id integer PRIMARY KEY, text text NOT NULL UNIQUE, likes int"
        " DEFAULT 0)",
        "CREATE TABLE seen (text text)",
        "CREATE TABLE parts (text text REFERENCES things (text) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE VIEW looking AS SELECT text FROM things",
        "CREATE TRIGGER note AFTER UPDATE ON things BEGIN INSERT INTO seen VALUES (new.text); END",
        "CREATE TRIGGER through INSTEAD OF INSERT ON looking BEGIN"
        " INSERT INTO seen VALUES (new.text); END",
    ),
    plain=(
        # In a snapshot of BEGIN, real connections find the database locked.
        *(statement for statement in COMMON if statement != "BEGIN"),
        "VALUES (1), (2)",
        "SELECT [text], `likes` FROM \"things\" WHERE [text] = '{}'",
        "SELECT * FROM looking ORDER BY text",
        "INSERT INTO looking VALUES ('{}')",
        "INSERT OR IGNORE INTO things (text) VALUES ('{}')",
        "INSERT OR REPLACE INTO things (text) VALUES ('{}')",
        "INSERT OR FAIL INTO things (text) VALUES ('new {}'), ('{}')",
        "INSERT OR ROLLBACK INTO things (text) VALUES ('{}')",
        "REPLACE INTO things (text) VALUES ('{}') RETURNING text",
        "INSERT INTO things (text) VALUES ('{}') ON CONFLICT DO UPDATE SET likes = likes + 1",
        "WITH w (t) AS (VALUES ('{}')) INSERT INTO seen SELECT t FROM w",
        "WITH w (t) AS (VALUES ('{}')) DELETE FROM things WHERE text IN (SELECT t FROM w)",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3) SELECT * FROM n",
        "EXPLAIN QUERY PLAN SELECT * FROM things",
        "INSERT INTO parts VALUES ('{}')",
        "SELECT text FROM parts ORDER BY 1",
        "PRAGMA table_info(things)",
        "PRAGMA user_version",
        "PRAGMA user_version = 3",
        "PRAGMA user_version(4)",
        "PRAGMA foreign_keys",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA defer_foreign_keys = ON",
        "PRAGMA optimize",
        "PRAGMA wal_checkpoint",
        "PRAGMA quick_check",
        "SELECT last_insert_rowid()",
        "SELECT changes(), total_changes()",
        "CREATE TEMP TABLE mine (n)",
        "INSERT INTO temp.things VALUES (1)",
        "ATTACH ':memory:' AS other",
        "DETACH other",
        "VACUUM",
        "BEGIN IMMEDIATE",
        "END",
        "SELECT * FROM pragma_table_info('seen')",
        "SELECT abs(-9223372036854775808)",
    ),
    altering=(
        "CREATE TABLE made_{} (n)",
        "CREATE TABLE copied AS SELECT text FROM things",
        "DROP TABLE IF EXISTS made_{}",
        "ALTER TABLE things ADD COLUMN extra int",
        "ALTER TABLE seen RENAME TO saw",
        "CREATE INDEX made ON things (likes)",
        "DROP VIEW looking",
        "REINDEX",
        "ANALYZE",
    ),
    contents=(
        "SELECT text, likes FROM things ORDER BY text",
        "SELECT text FROM seen ORDER BY text",
        "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2",
        "PRAGMA user_version",
    ),
)

STATEMENTS: Final = {"postgresql": POSTGRESQL, "mysql": MYSQL, "sqlite": SQLITE}

SPELLINGS: Final = (
    *("{}",) * 6,
    "{};",
    " \n {}",
    "/* a comment; */ {}",
    "-- a comment; COMMIT\n{}",
    "{} -- INSERT",
    "{} /* FOR UPDATE */",
)
MANY: Final = "executemany: "
"""What begins a step that inserts several things, of which `-` has no text, and so fails."""


def write_script(generator: random.Random, statements: Statements) -> list[tuple[int, str]]:
    """Return steps: the number of a session, and what it executes; or "commit" or "rollback"."""
    script = []
    for _ in range(14):
        number, text = generator.randrange(3), generator.choice("ab")
        kind = generator.choices(
            ("plain", "many", "altering", "commit", "rollback"), (9, 1, 1, 4, 1)
        )[0]
        if kind == "plain":
            step = spell(generator, generator.choice(statements.plain), text)
        elif kind == "many":
            step = MANY + " ".join(generator.sample("abcde-", 3))
        elif kind == "altering":
            script += [(other, "commit") for other in range(3) if other != number]
            step = spell(generator, generator.choice(statements.altering), text)
        else:
            step = kind
        script.append((number, step))
        if kind == "altering":
            script.append((number, generator.choice(("commit", "rollback"))))
    return script


def spell(generator: random.Random, statement: str, text: str) -> str:
    """Return `statement` about `text`, in one of the ways in which it can be written."""
    statement = statement.replace("{}", text)
    if statement.startswith(("SELECT text", "INSERT INTO things")) and generator.random() < 0.2:
        statement = statement.replace("SELECT", "select").replace("INSERT INTO", "insert\ninto")
    return generator.choice(SPELLINGS).replace("{}", statement)
