CREATE SCHEMA "Other"

CREATE TABLE "Other"."it's ""a"" table" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)

CREATE VIEW names AS SELECT id FROM "Other"."it's ""a"" table"

CREATE TABLE countries (
    id serial PRIMARY KEY, name text, info json,
    length int GENERATED ALWAYS AS (length(name)) STORED
)

INSERT INTO countries (name, info) VALUES ('Italy', '{"eu": true}'), ('Peru', NULL)

CREATE TABLE chickens (id serial PRIMARY KEY, egg_id int)

CREATE TABLE eggs (
    id serial PRIMARY KEY, chicken_id int NOT NULL REFERENCES chickens,
    country_id int REFERENCES countries
)

ALTER TABLE chickens ADD FOREIGN KEY (egg_id) REFERENCES eggs

CREATE TABLE trees (id serial PRIMARY KEY, parent_id int REFERENCES trees ON DELETE RESTRICT)

CREATE TABLE days (day date PRIMARY KEY) PARTITION BY RANGE (day)

CREATE TABLE days_2025 PARTITION OF days FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')

CREATE TABLE days_later PARTITION OF days DEFAULT

CREATE TABLE log (what text)

CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log VALUES (tg_op); RETURN NULL; END'

CREATE TRIGGER log AFTER INSERT OR DELETE ON trees FOR EACH ROW EXECUTE FUNCTION log()

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN RAISE EXCEPTION ''append only''; END'

CREATE TRIGGER refuse BEFORE DELETE ON log FOR EACH ROW EXECUTE FUNCTION refuse()

CREATE SEQUENCE numbers START 7

SELECT nextval('numbers')

CREATE MATERIALIZED VIEW tree_count AS SELECT count(*) FROM trees
