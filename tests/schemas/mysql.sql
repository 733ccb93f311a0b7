CREATE TABLE `it's ``a`` table` (id int AUTO_INCREMENT PRIMARY KEY)

CREATE VIEW names AS SELECT id FROM `it's ``a`` table`

CREATE TABLE countries (
    id int AUTO_INCREMENT PRIMARY KEY, name varchar(20), info json,
    length int AS (length(name)) STORED
)

INSERT INTO countries (name, info) VALUES ('Italy', '{"eu": true}'), ('Peru', NULL)

CREATE TABLE chickens (id int AUTO_INCREMENT PRIMARY KEY, egg_id int)

CREATE TABLE eggs (
    id int AUTO_INCREMENT PRIMARY KEY, chicken_id int NOT NULL, country_id int,
    FOREIGN KEY (chicken_id) REFERENCES chickens (id),
    FOREIGN KEY (country_id) REFERENCES countries (id)
)

ALTER TABLE chickens ADD FOREIGN KEY (egg_id) REFERENCES eggs (id)

CREATE TABLE trees (
    id int AUTO_INCREMENT PRIMARY KEY, parent_id int,
    FOREIGN KEY (parent_id) REFERENCES trees (id) ON DELETE RESTRICT
)

CREATE VIEW aardvarks AS SELECT id FROM names

CREATE VIEW bees AS SELECT id FROM aardvarks

CREATE VIEW ants AS SELECT id FROM bees

CREATE TABLE days (day date PRIMARY KEY) PARTITION BY RANGE (YEAR(day))
    (PARTITION days_2025 VALUES LESS THAN (2026), PARTITION days_later VALUES LESS THAN MAXVALUE)

CREATE TABLE log (what varchar(20))

CREATE TRIGGER log_insert AFTER INSERT ON trees FOR EACH ROW INSERT INTO log VALUES ('INSERT')

CREATE TRIGGER log_delete AFTER DELETE ON trees FOR EACH ROW INSERT INTO log VALUES ('DELETE')

CREATE TRIGGER log_refuse BEFORE DELETE ON log FOR EACH ROW
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'append only'

CREATE SEQUENCE numbers START WITH 7

CREATE TABLE prices (id int AUTO_INCREMENT PRIMARY KEY, price int) WITH SYSTEM VERSIONING

CREATE TABLE rates (id int AUTO_INCREMENT PRIMARY KEY, rate int) WITH SYSTEM VERSIONING

INSERT INTO rates (rate) VALUES (3), (5)
