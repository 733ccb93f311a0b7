CREATE TABLE "it's ""a"" table" (id integer PRIMARY KEY AUTOINCREMENT)

CREATE VIEW names AS SELECT id FROM "it's ""a"" table"

CREATE TABLE countries (
    id integer PRIMARY KEY AUTOINCREMENT, name text, info json,
    length int GENERATED ALWAYS AS (length(name)) STORED
)

INSERT INTO countries (name, info) VALUES ('Italy', '{"eu": true}'), ('Peru', NULL)

CREATE TABLE chickens (id integer PRIMARY KEY AUTOINCREMENT, egg_id int REFERENCES eggs)

CREATE TABLE eggs (
    id integer PRIMARY KEY AUTOINCREMENT, chicken_id int NOT NULL REFERENCES chickens,
    country_id int REFERENCES countries
)

CREATE TABLE trees (
    id integer PRIMARY KEY AUTOINCREMENT, parent_id int REFERENCES trees ON DELETE RESTRICT
)

CREATE TABLE days (day date PRIMARY KEY)

CREATE TABLE log (what text)

CREATE TRIGGER log_insert AFTER INSERT ON trees BEGIN INSERT INTO log VALUES ('INSERT'); END

CREATE TRIGGER log_delete AFTER DELETE ON trees BEGIN INSERT INTO log VALUES ('DELETE'); END

CREATE TRIGGER log_refuse BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'append only'); END
